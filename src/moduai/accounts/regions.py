"""Regions that people may say they live in, where the settings name none: coarse, by ISO 3166-2.

A country pack will bring its own; until then these are Korea's first-level regions.
"""

from __future__ import annotations

from typing import Final

KOREA: Final[dict[str, dict[str, str]]] = {
    "KR-11": {"ko": "서울특별시", "en": "Seoul"},
    "KR-26": {"ko": "부산광역시", "en": "Busan"},
    "KR-27": {"ko": "대구광역시", "en": "Daegu"},
    "KR-28": {"ko": "인천광역시", "en": "Incheon"},
    "KR-29": {"ko": "광주광역시", "en": "Gwangju"},
    "KR-30": {"ko": "대전광역시", "en": "Daejeon"},
    "KR-31": {"ko": "울산광역시", "en": "Ulsan"},
    "KR-50": {"ko": "세종특별자치시", "en": "Sejong"},
    "KR-41": {"ko": "경기도", "en": "Gyeonggi"},
    "KR-42": {"ko": "강원특별자치도", "en": "Gangwon"},
    "KR-43": {"ko": "충청북도", "en": "North Chungcheong"},
    "KR-44": {"ko": "충청남도", "en": "South Chungcheong"},
    "KR-45": {"ko": "전북특별자치도", "en": "North Jeolla"},
    "KR-46": {"ko": "전라남도", "en": "South Jeolla"},
    "KR-47": {"ko": "경상북도", "en": "North Gyeongsang"},
    "KR-48": {"ko": "경상남도", "en": "South Gyeongsang"},
    "KR-49": {"ko": "제주특별자치도", "en": "Jeju"},
}
"""Code to name by language."""


def name_of(names: dict[str, dict[str, str]], code: str, language: str) -> str:
    """What a code is called in a language; in any if it has no name there, the code itself if in none."""
    called = names.get(code, {})
    return called.get(language) or next(iter(called.values()), code)
