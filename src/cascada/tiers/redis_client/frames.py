"""How much a reply may promise, looked at before the parser believes it.

hiredis makes a list as soon as it reads how long it will be: twelve bytes, `*200000000`, cost it
1.6 GB and the event loop six seconds. So the headers of all that arrives are walked through first,
and what no reply to cascada can be ends the connection. Strings are skipped over, so that the walk
costs a fraction of a microsecond for each element, whatever its size.
"""

from __future__ import annotations

from typing import Final

MAX_ELEMENTS: Final = 2**12
"""Of one reply, all levels together; but each argument of the longest command brings some more."""

MAX_ITEMS: Final = 2**20
"""Of a list that is read at once."""

PER_ARGUMENT: Final = 4
"""Elements: an invalidation answers three for each name."""

MAX_PAIRS: Final = 256
"""Of a map or a set, whose keys may be made to collide: only the greeting is one."""

MAX_DEPTH: Final = 8
MAX_STRING: Final = 512 * 2**20
"""What Redis itself takes for a string at most."""

MAX_REPLY: Final = 2**30
MAX_LINE: Final = 64 * 2**10

_USUAL: Final = {b"$%d" % length: 4 + length for length in range(2048)} | {b"_": 2, b"$-1": 2}
"""How far behind the end of its header the usual element ends: half the cost of reading numbers."""

_STRINGS: Final = frozenset(b"$=!")
_LISTS: Final = frozenset(b"*>")
_PAIRS: Final = frozenset(b"%~")
_LINES: Final = frozenset(b"+-:_#,(")


class TooMuch(Exception):
    """No reply to what cascada asks."""


class Frames:
    """Walks through the bytes of one connection, in whatever pieces they come.

    `most`: elements of one reply, which whoever sends a command of many arguments raises.

    `_left` elements of the innermost list are still to come; `_above` are those of the lists that
    it is in.
    """

    def __init__(self) -> None:
        self.most = MAX_ELEMENTS
        self._line = b""
        self._skip = 0
        self._left = 0
        self._above: list[int] = []
        self._elements = self._bytes = 0

    def look(self, data: bytes) -> int:
        """How many bytes are here now of a reply that is not here whole.

        Of the last string of a reply the first piece is not among them.

        TooMuch, or ValueError, if these are no reply, or promise more than one may hold. On the way
        of every read: what is usual comes first, and nothing is called for it.
        """
        at, self._skip = self._skip, 0
        self._bytes += len(data)
        if self._bytes > MAX_REPLY:
            raise TooMuch(f"a reply of more than {MAX_REPLY} bytes")
        if self._line:
            data, self._line = self._line + data, b""
        size, find, left = len(data), data.find, self._left
        while at < size:
            end = find(b"\r\n", at, at + MAX_LINE)
            if end < 0:
                self._line, self._left = data[at:], left
                if size - at >= MAX_LINE:
                    raise TooMuch(f"a line of more than {MAX_LINE} bytes")
                return self._bytes
            usual = _USUAL.get(data[at:end]) or (2 if data[at] in _LINES else 0)
            if usual:
                at = end + usual
            else:
                at, follow = self._unusual(data, at, end)
                if follow:
                    if left:
                        self._above.append(left)
                    left = follow
                    continue
            left -= 1
            if left <= 0:
                left = self._after_list(size - at)
        self._skip, self._left = at - size, left
        return self._bytes if left or at > size else 0

    def _after_list(self, rest: int) -> int:
        """What is left of the lists around one that has ended; `rest` bytes behind it are here."""
        while self._above:
            if left := self._above.pop() - 1:
                return left
        self._elements, self._bytes = 0, max(rest, 0)
        return 0

    def _unusual(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Where the next header begins, and how many elements of this one follow."""
        kind = data[at]
        count = int(data[at + 1 : end])
        if kind in _STRINGS:
            if count > MAX_STRING:
                raise TooMuch(f"a string of {count} bytes")
            return end + 2 if count < 0 else end + 4 + count, 0
        if kind in _PAIRS:
            if count > MAX_PAIRS:
                raise TooMuch(f"a map of {count} pairs")
            count *= 1 + (kind == ord("%"))
        elif kind not in _LISTS:
            raise TooMuch(f"something that begins with {bytes([kind])!r}")
        count = max(count, 0)
        self._elements += count
        if self._elements > self.most or len(self._above) >= MAX_DEPTH:
            raise TooMuch(f"{self._elements} elements, over {self.most} or too deep")
        return end + 2, count
