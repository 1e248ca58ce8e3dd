"""What may come back for each command: a reply of another form is not this command's.

Replies bear no name. They belong to the commands in their order. So one reply too many, or one too
few, would hand every later caller somebody else's. The wire looks at each reply before its caller
gets it, and ends a connection on which one does not fit. Who sends a command passes the form of its
reply, or `fitting` tells it by the command; a new command without one would take anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Argument = bytes | str | int | float
Fits = Callable[[Any], bool]


_TEXT_OR_NONE: Final = frozenset([bytes, type(None)])


def anything(reply: Any) -> bool:
    """For a command whose reply nobody uses."""
    return True


def number(reply: Any) -> bool:
    return type(reply) is int


def at_least(lowest: int) -> Fits:
    return lambda reply: type(reply) is int and reply >= lowest


def text(reply: Any) -> bool:
    return type(reply) is bytes


def text_or_none(reply: Any) -> bool:
    return reply is None or type(reply) is bytes


def exactly(expected: bytes) -> Fits:
    return lambda reply: type(reply) is bytes and reply == expected


def texts(reply: Any) -> bool:
    return type(reply) is list and all(map(text, reply))


def texts_or_none(reply: Any) -> bool:
    return reply is None or texts(reply)


def values(count: int) -> Fits:
    """So many values, each of which may be missing."""
    return lambda reply: (
        type(reply) is list and len(reply) == count and _TEXT_OR_NONE.issuperset(map(type, reply))
    )


def greeted(reply: Any) -> bool:
    """What HELLO answers in RESP3."""
    return type(reply) is dict and reply.get(b"proto") == 3


OF_COMMANDS: Final[Mapping[Any, Fits]] = {
    b"GET": text_or_none,
    b"INCR": number,
    b"INCRBY": number,
    b"INFO": text,
    b"LLEN": at_least(0),
    b"LPOP": text_or_none,
    b"LPUSH": at_least(1),
    b"LRANGE": texts,
    b"LTRIM": exactly(b"OK"),
    b"PEXPIRE": at_least(0),
    b"PING": exactly(b"PONG"),
    b"PUBLISH": at_least(0),
    b"RPOP": text_or_none,
    b"RPUSH": at_least(1),
    b"UNLINK": at_least(0),
}


def fitting(command: Sequence[Argument]) -> Fits:
    """What fits a plain command. What fits a script, only who runs it knows."""
    if command[0] == b"MGET":
        return values(len(command) - 1)
    return OF_COMMANDS.get(command[0], anything)
