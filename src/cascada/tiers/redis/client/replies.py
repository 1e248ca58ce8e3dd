"""What may come back for each command: a reply of another form is not this command's.

Replies bear no name. They belong to the commands in their order. So one reply too many, or one too
few, would hand every later caller somebody else's. The wire looks at each reply before its caller
gets it, and ends a connection on which one does not fit. Who sends a command passes the form of its
reply, or `fitting` tells it by the command; a new command without one would take anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cascada.tiers.redis.layout import NONCE

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


def begun(reply: Any) -> bool:
    """The epoch that BEGIN answers."""
    return type(reply) is bytes and len(reply) > NONCE


_GRANTED: Final = {b"LEASE": bytes, b"FOUND": bytes, b"FENCED": bytes, b"BUSY": int}
"""The words of ACQUIRE's answers, and of which type is what each says."""


def granted(count: int) -> Fits:
    """What ACQUIRE answers for so many keys."""

    def fits(reply: Any) -> bool:
        if type(reply) is not list or [*map(type, reply)] != [bytes, int, bytes, list]:
            return bool(reply == [b"LAYOUT"])
        word, _, _, answers = reply
        for answer in answers:
            if type(answer) is not list or len(answer) != 2 or type(answer[0]) is not bytes:
                return False
            if type(answer[1]) is not _GRANTED.get(answer[0]):
                return False
        return word == b"OK" and len(answers) == count

    return fits


def filled(count: int) -> Fits:
    """What FILL answers for so many keys."""

    def fits(reply: Any) -> bool:
        if type(reply) is not list or len(reply) != count:
            return False
        for answer in reply:
            if type(answer) is not list or [*map(type, answer)] != [int, int, bytes]:
                return False
        return True

    return fits


def ended(count: int) -> Fits:
    """What ENDED answers for so many names."""
    return lambda reply: (
        type(reply) is list
        and len(reply) == 2
        and all(map(number, reply))
        and 0 <= reply[0] <= count
    )


def invalidated(count: int) -> Fits:
    """What INVALIDATE answers for so many names."""

    def fits(reply: Any) -> bool:
        if type(reply) is not list or [*map(type, reply)] != [int, int, bytes, list, int]:
            return False
        *_, reached, total = reply
        for at, each in enumerate(reached):
            if type(each) is not int or each < 0 or (at % 3 == 0 and not 1 <= each <= count):
                return False
        return len(reached) % 3 == 0 and total >= 0

    return fits


OF_COMMANDS: Final[Mapping[Any, Fits]] = {
    b"DBSIZE": at_least(0),
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
