"""Text that must not be seen: passwords, and URLs, which may hold one.

What `repr`, `str`, `format`, a log record and a traceback get of it is decided here, once. Of a URL
that is its scheme, of anything else nothing. A URL is not taken apart to show its harmless parts:
with a `/`, `#` or `@` in a password, a piece of it stands where the host is looked for.
"""

from __future__ import annotations

import re
import traceback
from os.path import basename
from typing import Any, Final, NoReturn

from cascada.model.errors import CascadaError

HIDDEN: Final = "***"

_SCHEME: Final = re.compile(r"([a-z]+)(?:\+[a-z0-9]+)?(?=://)", re.I)
_KNOWN: Final = frozenset({
    "file", "http", "https", "memcached", "mysql", "postgres", "postgresql", "redis", "rediss",
    "sqlite", "unix", "valkey", "valkeys",
})  # fmt: skip
"""Else a password that is written before "://" would be shown as one."""


class Secret:
    """A text that only `reveal` gives. Equal texts are equal secrets, so that settings compare."""

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text._text if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text itself: for whoever connects with it, and for nobody who writes anything."""
        return self._text

    @property
    def shown(self) -> str:
        """What anybody may see of it."""
        return HIDDEN

    def hidden_in(self, text: str) -> str:
        """`text`, from elsewhere, without this secret: servers repeat what they were sent."""
        return text.replace(self._text, HIDDEN) if self._text else text

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return repr(self.shown)

    def __format__(self, how: str) -> str:
        return format(self.shown, how)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (type(other), other._text) == (type(self), self._text)

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # A pickle holds the text as it is, and lies in files and queues.
        raise TypeError("a secret cannot be pickled; let each process read its own settings")


class Url(Secret):
    """A URL, of which no more than its scheme is shown."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """What it begins with, in lower case; "" if that is no scheme that may be shown."""
        match = _SCHEME.match(self._text)
        return match[0].lower() if match and match[1].lower() in _KNOWN else ""

    @property
    def rest(self) -> str:
        """What comes after its scheme: all of it, if there is none. A secret."""
        return self._text[len(self.scheme) + len("://") :] if self.scheme else self._text

    @property
    def shown(self) -> str:
        return f"{self.scheme}://{HIDDEN}" if self.scheme else HIDDEN


class NoText:
    """What was passed for a secret and is none; its type may be shown."""

    __slots__ = ("_kind",)

    def __init__(self, given: object) -> None:
        self._kind = type(given).__name__

    def __repr__(self) -> str:
        return f"a {self._kind}"


def hidden(given: object, kind: type[Secret] = Url) -> Any:
    """What was passed for a secret, hidden at once: whoever reports an error with the local
    variables of its frames would show it else."""
    if given is None or isinstance(given, Secret):
        return given
    return kind(str.__str__(given)) if isinstance(given, str) else NoText(given)


def without_values(error: BaseException) -> str:
    """An error as a log may show it: cascada's own as it is, of all others the class and the place.

    What somebody else's error says may hold a row, a statement with its parameters, a password.
    """
    if isinstance(error, CascadaError):
        return str(error)
    name = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if not frames:
        return name
    last = frames[-1]
    return f"{name} in {last.name} ({basename(last.filename)}:{last.lineno})"


def traced(error: BaseException) -> str:
    """`without_values`, and how it came to that: the lines of code, without what was in them."""
    lines = traceback.format_tb(error.__traceback__)
    return "\n".join([without_values(error), *("".join(lines).splitlines())])
