"""Time zones that can be told again: fixed offsets, and named zones by their key.

A zone with a name is more than its offset of today: what was stored in winter would be an hour
wrong in summer. Others (of pytz, dateutil or one's own) have no name that a reader could go by.
"""

from __future__ import annotations

import sys
from datetime import timedelta, timezone, tzinfo
from typing import Any


def key_of(zone: tzinfo) -> str | None:
    """The key that gives a named zone again; None for a zone that has none (read from a file)."""
    zoneinfo: Any = sys.modules.get("zoneinfo")  # to import it takes a while
    if zoneinfo is None or type(zone) is not zoneinfo.ZoneInfo:
        return None
    try:
        # What was read from a file may bear any key, and cannot be pickled for that.
        zone.__reduce__()
    except Exception:  # noqa: BLE001 - pickle's own error, and pickle is not imported here
        return None
    key: str = zone.key  # type: ignore[attr-defined]  # it is a ZoneInfo
    return key


def own_name(zone: timezone) -> str:
    """The name that a fixed offset was given; "" if it has none but its offset."""
    offset = zone.utcoffset(None)
    name = zone.tzname(None)
    return "" if name == timezone(offset).tzname(None) else name


def fixed(offset: timedelta, name: str) -> timezone:
    """The zone of a fixed offset."""
    return timezone(offset, name) if name else timezone(offset)
