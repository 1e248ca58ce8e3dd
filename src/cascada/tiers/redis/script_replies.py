"""What the tier's scripts may answer: a reply of another form is not this script's.

Who runs a script passes the form of its reply along; `redis_client/replies.py` says why, and has
the forms of plain commands. Each looks at a reply in one pass.
"""

from __future__ import annotations

from typing import Any, Final

from cascada.tiers.redis.layout import NONCE
from cascada.tiers.redis_client.replies import Fits, number


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
    """What FILL answers for so many keys, and for all of them the account."""

    def fits(reply: Any) -> bool:
        if type(reply) is not list or len(reply) != count + 1:
            return False
        *answers, account = reply
        if type(account) is not list or [*map(type, account)] != [int, int]:
            return False
        for answer in answers:
            if type(answer) is not list or [*map(type, answer)] != [int, int, bytes]:
                return False
        return True

    return fits


def touched(reply: Any) -> bool:
    """What TOUCH answers."""
    return type(reply) is list and [*map(type, reply)] == [int, int, bytes] and 0 <= reply[0] <= 3


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
        if type(reply) is not list or [*map(type, reply)] != [int, int, bytes, list, int, int]:
            return False
        *_, reached, total, journaled = reply
        for at, each in enumerate(reached):
            if type(each) is not int or each < 0 or (at % 3 == 0 and not 1 <= each <= count):
                return False
        return len(reached) % 3 == 0 and total >= 0 and journaled >= 0

    return fits
