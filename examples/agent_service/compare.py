"""What is right, judged from outside: by the versions that answers show, and when they were asked.

The documents' sentences name their version (world.py). An answer is wrong if it shows a version of
a document that had been replaced, as the client had been told, before the answer was asked for; or
one that nobody had begun to store. While an edit is under way, either version is right.

Cascada promises that of reads through the worker that made the edit at once, and of the memory of
another worker after the few milliseconds that the push takes: so all columns have GRACE.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from math import inf
from typing import Final

from examples.agent_service.world import Place

GRACE: Final = 0.1
"""Seconds after an edit for which its old version is no error, in any column."""

_MARK: Final = re.compile(r"\[(\S+) v(\d+)\]")


@dataclass(slots=True)
class _Versions:
    """When each version's edit was begun, and when the client was told that it is stored."""

    begun: list[float] = field(default_factory=lambda: [-inf])
    stored: list[float] = field(default_factory=lambda: [-inf])


class Truth:
    """The edits of one column. Those of a document come one after the other."""

    def __init__(self) -> None:
        self._of: dict[str, _Versions] = {}
        self.seen: set[tuple[str, int]] = set()
        """Documents and versions that answers have shown; the first version is no edit."""

    def begin(self, place: Place, version: int, now: float) -> None:
        begun = self._of.setdefault(place.mark, _Versions()).begun
        assert version == len(begun), "an edit that was left out, or came twice"
        begun.append(now)

    def stored(self, place: Place, version: int, now: float) -> None:
        stored = self._of[place.mark].stored
        # Of one whose edit failed nothing is known; by now it has been replaced in any case.
        stored += [now] * (version + 1 - len(stored))

    def judge(self, text: str, tenant: str, sent: float, received: float) -> str | None:
        """What is wrong with an answer, in a sentence; None if nothing is."""
        marks = {(mark, int(version)) for mark, version in _MARK.findall(text)}
        if not marks:
            return f"it shows no document: {text[:80]!r}"
        for mark, version in sorted(marks):
            if not mark.startswith(f"{tenant}/"):
                return f"it shows {mark}, which is not {tenant}'s"
            known = self._of.get(mark, _NEVER_EDITED)
            oldest = bisect_right(known.stored, sent - GRACE) - 1
            newest = bisect_right(known.begun, received) - 1
            if version < oldest:
                late = sent - known.stored[version + 1]
                return (
                    f"it shows v{version} of {mark}, {late:.1f} s after v{version + 1} was stored"
                )
            if version > newest:
                return f"it shows v{version} of {mark}, which nobody has begun to store"
        self.seen |= {each for each in marks if each[1]}
        return None


_NEVER_EDITED: Final = _Versions()


def versions_in(text: str) -> dict[str, int]:
    """The documents that an answer shows, and from which version."""
    return {mark: int(version) for mark, version in _MARK.findall(text)}
