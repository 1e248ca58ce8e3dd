"""What never expires has a physical life in Redis all the same, so that nothing is orphaned for
ever: whoever reads it in the second half of that life renews it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.contract import Found
from cascada.tiers.redis.large_payloads import Aside
from cascada.tiers.redis.layout import PERMANENT_MS, Layout
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.replies import at_least

HALF: Final = PERMANENT_MS / 1000 / 2
"""Seconds after its creation from which on an entry is looked at."""

PAUSE: Final = 86_400.0
"""Seconds for which a renewed entry is left alone: it is as old as before."""

MAX_RENEWED: Final = 16_384
"""Entries that are left alone; beyond it all are looked at once more."""

RENEW: Final = r"""
-- KEYS: an entry, its greatest version, then the generations of its names, and its payload if that
--   lies beside it. ARGV: 1 the mark of the entry that was read (8 bytes of its header), 2 its life
--   in ms.
local life = tonumber(ARGV[2])
if redis.pcall('GETRANGE', KEYS[1], 3, 10) ~= ARGV[1]
    or redis.call('PTTL', KEYS[1]) > life / 2 then return 0 end
for i = 1, #KEYS do
  -- What says that it is valid lives longer than it does, as when it was filled, and is only ever
  -- lengthened: others may bear it.
  local lasts = i > 2 and 2 * life or life
  if redis.call('PTTL', KEYS[i]) < lasts then redis.call('PEXPIRE', KEYS[i], lasts) end
end
return 1
"""
"""Not kept by its digest: it is sent once a day for an entry."""


class Renewal:
    """Of the entries that one tier reads. Nobody waits for it."""

    def __init__(self, layout: Layout, link: Link, aside: Aside) -> None:
        self._layout = layout
        self._link = link
        self._aside = aside
        self._renewed: dict[bytes, float] = {}

    def renew(self, key: Key, found: Found, now: float) -> None:
        """What never expires, is older than HALF, and was read just now."""
        layout = self._layout
        entry, _, _, _, version = layout.fill_keys(key.text.encode())
        if now < self._renewed.get(entry, 0.0):
            return
        if len(self._renewed) >= MAX_RENEWED:
            self._renewed.clear()
        self._renewed[entry] = now + PAUSE
        _, generations = layout.borne(key)
        payload = self._aside.places(key, found.entry)
        keys = (entry, version, *generations, *map(layout.generation, found.entry.names), *payload)
        with suppress(TierUnavailable):  # then the next who reads it renews it
            sent = self._link.send(
                b"EVAL", RENEW, len(keys), *keys, found.mark, PERMANENT_MS, fits=at_least(0)
            )
            sent.add_done_callback(_heard)


def _heard(sent: asyncio.Future[object]) -> None:
    """Nobody waits for it, so that nobody else would look at its failure."""
    if not sent.cancelled():
        sent.exception()
