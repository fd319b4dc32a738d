"""The skeleton of a pack for another country: every file, and every gap marked with what belongs there."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from string import Template

from moduai.packs.schema import Locale

SKELETON = Path(__file__).parent / "skeleton"


def write(folder: Path, name: str, locale: Locale, today: date) -> list[Path]:
    """Write the files into a folder that is not there or is empty. Raises FileExistsError, OSError."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    texts = ", ".join(f'{_key(one)} = "?"' for one in locale.languages)
    values = {
        "id": name,
        "country": locale.country,
        "currency": locale.currency,
        "languages": ", ".join(f'"{one}"' for one in locale.languages),
        "words": f"{{ {texts} }}",
        "day": today.isoformat(),
        "year": str(today.year),
    }
    written = []
    for file in sorted(SKELETON.rglob("*.toml")):
        path = folder / file.relative_to(SKELETON)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(file.read_text("utf-8")).substitute(values), "utf-8")
        written.append(path)
    return written


def _key(language: str) -> str:
    return f'"{language}"' if "-" in language else language
