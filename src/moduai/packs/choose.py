"""Which pack the settings choose: one that comes with Modu, by its id, or a folder, by its path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from moduai.packs.pack import Fault, Pack
from moduai.packs.read import PackError, ParsePolicy, read
from moduai.packs.where import folder, shipped
from moduai.settings import Loaded


def chosen(loaded: Loaded, parse_policy: ParsePolicy) -> Pack:
    """The settings' pack. Raises PackError."""
    return once(loaded.settings.pack.use, loaded.home, parse_policy)


def once(use: str, home: Path, parse_policy: ParsePolicy) -> Pack:
    """A pack, read once in a process. Raises PackError: a pack with a fault is not used (fails closed)."""
    found = _read(folder(use, home), parse_policy)
    if isinstance(found, PackError):
        raise PackError(found.faults)
    return found


def regions(loaded: Loaded, parse_policy: ParsePolicy) -> dict[str, dict[str, str]]:
    """Regions that people may say they live in: the settings' own, else the pack's; code to name by language.
    Raises PackError.
    """
    own = loaded.settings.people.regions
    if own:
        return own
    pack = chosen(loaded, parse_policy)
    return {one.code: dict(one.name) for one in pack.regions if one.code != pack.locale.country}


def zone(loaded: Loaded, parse_policy: ParsePolicy) -> timezone:
    """Where days begin: as the settings say, else as the pack's time zone has it now; UTC where the pack
    cannot be used (fails open).
    """
    if own := loaded.settings.console.utc_offset:
        return timezone(datetime.strptime(own, "%z").utcoffset() or timedelta())
    try:
        there = ZoneInfo(chosen(loaded, parse_policy).locale.time_zone)
    except PackError:
        return UTC
    return timezone(datetime.now(there).utcoffset() or timedelta())


def absent(folder: Path) -> Fault:
    """What there is to say of a pack that is not there."""
    return Fault(str(folder), 0, (), f"there is no such folder; Modu has the packs {', '.join(shipped())}")


@lru_cache(maxsize=2)
def _read(folder: Path, parse_policy: ParsePolicy) -> Pack | PackError:
    """What is wrong is kept too: a pack with faults is not read for every page."""
    if not folder.is_dir():
        return PackError([absent(folder)])
    try:
        return read(folder, parse_policy)
    except PackError as error:
        return error
