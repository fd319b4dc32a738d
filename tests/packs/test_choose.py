"""Which pack the settings choose, the skeleton of a new one, and that nothing is of one country only."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import msgspec
import pytest
from benchmarks.bars.plan_neutral import MAY, SOURCE, places

from moduai import settings
from moduai.gateway.policy_text import parse
from moduai.packs import choose, new, where
from moduai.packs.read import GAP, PackError, examine, read
from moduai.packs.schema import Locale
from tests.packs.conftest import INVENTED, faults


def loaded(home: Path, **values: str) -> settings.Loaded:
    return settings.load(home, {}, {name.replace("__", "."): value for name, value in values.items()})


def test_the_default_is_a_pack_that_comes_with_modu(tmp_path: Path) -> None:
    assert choose.chosen(loaded(tmp_path), parse).head.id in where.shipped()


def test_a_folder_is_chosen_by_its_path_below_the_home_folder_or_absolute(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(INVENTED, target_is_directory=True)
    for use in (str(INVENTED), "mine", "./mine"):
        assert choose.chosen(loaded(tmp_path, pack__use=use), parse).head.id == "xa"


def test_a_pack_with_faults_or_none_is_not_chosen(tmp_path: Path, copy: Path) -> None:
    (copy / "rules.toml").write_text("x")
    for use, told in ((str(copy), "rules.toml:1: this is not TOML"), ("nowhere", "no such folder")):
        for _ in range(2):  # what is kept of the first look tells the same
            with pytest.raises(PackError, match=told):
                choose.chosen(loaded(tmp_path, pack__use=use), parse)


def test_regions_are_the_settings_own_or_the_packs(tmp_path: Path) -> None:
    chosen = loaded(tmp_path, pack__use=str(INVENTED))
    assert choose.regions(chosen, parse) == {
        "XA-N": {"ar": "الشمال", "en": "North"},
        "XA-S": {"ar": "الجزر", "en": "Islands"},
    }
    own = settings.load(tmp_path, {"MODU_PEOPLE__REGIONS": '{"1": {"en": "One"}}'})
    assert choose.regions(own, parse) == {"1": {"en": "One"}}
    assert len(choose.regions(loaded(tmp_path), parse)) == 17


def test_days_begin_as_the_settings_say_or_where_the_country_is(tmp_path: Path, copy: Path) -> None:
    (copy / "rules.toml").write_text("x")
    given = [{}, {"pack__use": str(INVENTED)}, {"console__utc_offset": "-03:30"}, {"pack__use": str(copy)}]
    zones = [choose.zone(loaded(tmp_path, **each), parse) for each in given]
    assert [str(zone) for zone in zones] == ["UTC+09:00", "UTC+03:00", "UTC-03:30", "UTC"]


LOCALE = msgspec.convert(
    {
        "country": "XB",
        "languages": ["ar", "zh-Hant"],
        "currency": "XXX",
        "time_zone": "UTC",
        "currency_words": {},
        "name_order": "given-family",
    },
    Locale,
)


def test_a_new_pack_has_every_gap_marked_and_nothing_else_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "xb"
    written = new.write(folder, "xb", LOCALE, date(2026, 1, 2))
    marks = sum(len(GAP.findall(file.read_text("utf-8"))) for file in written)
    found = examine(folder, parse).faults
    assert len(found) == marks > 40
    assert all(fault.line and fault.text.startswith("to be filled in: ") for fault in found)
    assert {fault.file for fault in found} == {file.relative_to(folder).as_posix() for file in written}


def test_a_new_pack_is_one_when_its_gaps_are_filled_in(tmp_path: Path) -> None:
    folder = tmp_path / "xb"
    for file in new.write(folder, "xb", LOCALE, date(2026, 1, 2)):
        file.write_text(re.sub(GAP, "", file.read_text("utf-8")), "utf-8")
    assert faults(folder) == []
    assert read(folder, parse).languages == ("ar", "zh-Hant")


def test_tables_that_the_skeleton_shows_are_right_when_they_are_used(tmp_path: Path) -> None:
    """What stands there as a comment too."""
    folder = tmp_path / "xb"
    for file in new.write(folder, "xb", LOCALE, date(2026, 1, 2)):
        text = re.sub(r"\s*# GAP:.*", "", file.read_text("utf-8"))
        text = re.sub(r"^# (?=\[\[|\w+ = )", "", text, flags=re.MULTILINE)
        file.write_text(text.replace("…", "example.org"), "utf-8")
    assert faults(folder) == []
    found = read(folder, parse)
    assert all(
        found.rows(kind) for kind in ("holiday", "group", "seat", "actor", "feed", "purchase", "price")
    )


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        new.write(tmp_path, "xb", LOCALE, date(2026, 1, 2))


def test_nothing_of_korea_stands_outside_its_pack() -> None:
    assert list(places(read(where.shipped()["kr"], parse))) == []


def test_every_exception_says_why_and_is_needed() -> None:
    for path, why in MAY.items():
        assert (SOURCE / path).exists(), path
        assert len(why) > 10


def test_only_the_setting_that_chooses_names_a_country() -> None:
    defaults = settings.Loaded(settings.Settings(), Path(), {})
    named = {row.name for row in defaults.rows() if str(row.value).lower() in {"kr", "ko", "krw", "korea"}}
    assert named == {"pack.use"}


def test_what_stands_in_a_file_is_found(tmp_path: Path) -> None:
    """The measure itself can fail."""
    (tmp_path / "a.py").write_text('"""Korea."""\nx = "won"\n# Korea\ny = "서울"\nz = "Seoul"\n', "utf-8")
    (tmp_path / "a.html").write_text("<p>\nKRW</p>", "utf-8")
    found = list(places(read(where.shipped()["kr"], parse), tmp_path))
    assert found == ["a.html:2: KRW", "a.py:2: won", "a.py:4: 서울", "a.py:5: Seoul"]
