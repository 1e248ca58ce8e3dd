"""`cascada keys rotate`: all tenants' keys are wrapped by the first of CACHE_ENCRYPTION_KEYS."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from cascada.api.cache import Cache
from cascada.model.door.wrapping import read_wrapping_keys
from cascada.model.errors import Misuse

NO_KEYS: Final = "there are no keys to rotate: set CACHE_ENCRYPTION_KEYS as the service has it"

NEXT: Final = (
    "  -> when every process has %s as its first key, run this once more; if it finds nothing to "
    "do, %s may be left out of CACHE_ENCRYPTION_KEYS"
)
BACKUPS: Final = "  -> keep what you leave out as long as backups that you would restore"


def rotate() -> tuple[str, int]:
    """What was done, and what may be done next."""
    cache = Cache.from_env()
    keys = cache.options.encryption_keys
    if keys is None:
        raise Misuse(NO_KEYS)
    current, *older = read_wrapping_keys(keys)
    seen = [0]

    def tell(done: int, total: int) -> None:
        seen[0] = total
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {total} tenants ")
            sys.stderr.flush()

    async def work() -> int:
        async with cache:
            return await cache.rotate_keys(on_progress=tell)

    rotated = asyncio.run(work())
    said = f"{rotated} of {seen[0]} tenants' keys were wrapped anew: all are under {current} now"
    lines = [said]
    if not older:
        return lines[0], 0
    if rotated:
        return "\n".join([*lines, NEXT % (current, ", ".join(older)), BACKUPS]), 0
    free = f"  -> {', '.join(older)} may be left out of CACHE_ENCRYPTION_KEYS"
    return "\n".join([*lines, free, BACKUPS]), 0
