"""Time zones that can be stored and made again: fixed offsets, and named zones by their name.

A named zone is more than its offset of today: what was stored in winter would be an hour wrong in
summer. Zones of pytz, of dateutil or of one's own have no name that a reader could go by: `told`
answers None, and the codec refuses them. It, and the ids of `@cached`, must agree on which is
which.
"""

from __future__ import annotations

import sys
from datetime import timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from cascada.model.errors import CorruptEntry


class Told(NamedTuple):
    """What gives a zone again: a fixed offset and the name that it was given, or a key alone."""

    offset: timedelta | None
    name: str


NAIVE = Told(None, "")


def told(zone: tzinfo | None) -> Told | None:
    """What gives `zone` again; None if nothing does."""
    if zone is None:
        return NAIVE
    if isinstance(zone, timezone):
        offset, name = zone.utcoffset(None), zone.tzname(None)
        if not name:
            return None
        return Told(offset, "" if name == timezone(offset).tzname(None) else name)
    zoneinfo: Any = sys.modules.get("zoneinfo")  # to import it takes a while
    if zoneinfo is None or type(zone) is not zoneinfo.ZoneInfo:
        return None
    try:
        # What was read from a file may bear any key, and cannot be pickled for that.
        zone.__reduce__()
    except Exception:  # noqa: BLE001 - pickle's own error, and pickle is not imported here
        return None
    return Told(None, zone.key)  # type: ignore[attr-defined]  # it is a ZoneInfo


def restored(offset: timedelta | None, name: str) -> tzinfo | None:
    """The zone that was told; CorruptEntry if this machine does not know it."""
    if offset is not None:
        return timezone(offset, name) if name else timezone(offset)
    if not name:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise CorruptEntry(f"a time has the zone {name!r}, which is not known here") from error
