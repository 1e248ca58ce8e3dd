"""The greatest versions that memory has held of keys whose records have gone.

An invalidation ends the newest value, and eviction may; neither makes an older one the newest.
(The tiers below remember theirs for longer.)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cascada.model.keys import Key

MAX_VERSIONS: Final = 4096
"""Keys whose version is remembered; of those that went before, an older one may be stored again."""


class Versions:
    """See the module's text."""

    def __init__(self) -> None:
        self._newest: OrderedDict[Key, int] = OrderedDict()

    def went(self, key: Key, version: int | None) -> None:
        """The record of `key` has gone."""
        if version is None:
            return
        self._newest[key] = max(version, self._newest.get(key, version))
        self._newest.move_to_end(key)
        if len(self._newest) > MAX_VERSIONS:
            self._newest.popitem(last=False)

    def newest(self, key: Key) -> int | None:
        return self._newest.get(key)

    def clear(self) -> None:
        self._newest.clear()
