"""Entries that nobody has written: `python -m tests.codecs.fuzz 1000000 [seed]`.

Payloads of every kind, damaged in every way, and bytes at random. Each has to decode, or be a
CorruptEntry, and neither may take long.
"""

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy
import pydantic

from cascada.codecs.values import AS_ARRAY, ValueCodec
from cascada.model.errors import CorruptEntry

CODEC = ValueCodec(compress_over=200)


@dataclass
class Tool:
    name: str
    cost: Decimal
    at: datetime | None = None


class Agent(pydantic.BaseModel):
    id: UUID
    tools: list[Tool]
    anything: Any = None


class Row(msgspec.Struct):
    id: int
    tags: set[str]


class Place(NamedTuple):
    x: float
    y: float


_AT = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
SAMPLES: list[tuple[Any, dict[str, Any]]] = [
    ({"text": "\xf1 \u2603", "n": -(2**63), "x": 0.1, "list": [True, None, b"\x00", {}]}, {}),
    ([{"id": n, "tags": ["a", str(n)], "score": n / 7} for n in range(30)], {}),
    ("said again " * 100, {}), (2**200, {}), (b"\x90" * 300, {}), ([[[[[[]]]]]], {}),
    (((1, "a"), {frozenset({1, 2}), "b"}, {(1, 2): {2**70}, None: Decimal("1.50")}), {}),
    ([UUID(int=7), date(2024, 2, 29), clock_time(1, fold=1), _AT, _AT.astimezone(UTC)], {}),
    ([timedelta(-1, 5), complex(1, -2), Decimal("sNaN"), clock_time(2, tzinfo=_AT.tzinfo)], {}),
    (numpy.arange(6, dtype="<f4").reshape(2, 3), {}), (numpy.array(["\xf1", "ab"]), {}),
    (numpy.array(["2024-01-01"], "M8[D]"), {}), ({"v": numpy.zeros((3, 0)), "t": (1,)}, {}),
    ([n / 7 for n in range(40)], {"vectors": True}), ([1e300, -0.1], {"vectors": True}),
    (Tool("search", Decimal("0.10"), _AT), {"type": Tool}), (Row(1, {"a"}), {"type": Row}),
    (Agent(id=UUID(int=7), tools=[Tool("a", Decimal(0))], anything=(1, {2})), {"type": Agent}),
    ([Place(1.0, 2.0)] * 3, {"type": list[Place]}),
]  # fmt: skip
TYPES = [
    None,
    None,
    Any,
    AS_ARRAY,
    list,
    dict[str, Any],
    *(how["type"] for _, how in SAMPLES if "type" in how),
]
ODD = [
    0x7F,
    0x80,
    0x81,
    0x8F,
    0x90,
    0x91,
    0x9F,
    0xC1,
    0xC4,
    0xC6,
    0xC7,
    0xC9,
    0xD4,
    0xD8,
    0xDB,
    0xDD,
    0xDF,
    0xFF,
]


def run(count: int, seed: int) -> tuple[Counter[str], float]:
    """What became of so many entries, and the seconds that the slowest took."""
    rng = random.Random(seed)
    whole = [CODEC.encode(value, **how) for value, how in SAMPLES]
    # Where the machine does other things as well, only this process's own time counts.
    timer, slowest, became = time.process_time, 0.0, Counter[str]()
    for _ in range(count):
        data, codec, flags, wanted = _entry(rng, whole)
        started = timer()
        try:
            CODEC.decode(data, codec, flags, type=wanted)
            became["decoded"] += 1
        except CorruptEntry:
            became["corrupt"] += 1
        except BaseException:
            sys.stderr.write(f"seed {seed}: {data!r}, codec {codec}, flags {flags}, {wanted}\n")
            raise
        if (spent := timer() - started) > slowest:
            slowest = spent
    return became, slowest


def _entry(rng: random.Random, whole: list[Any]) -> tuple[bytes, int, int, Any]:
    wanted = rng.choice(TYPES)
    if rng.random() < 0.15:
        codec, flags = rng.randrange(8), rng.choice([0, 0, 0, 4, 8, 12])
        return rng.randbytes(rng.randrange(1, 60)), codec, flags, wanted
    made = rng.choice(whole)
    data, codec, flags = bytearray(made.data), int(made.codec), int(made.flags)
    for _ in range(rng.randrange(1, 5)):
        _damage(rng, data, whole)
    if rng.random() < 0.1:
        codec = rng.randrange(8)
    return bytes(data), codec, flags, wanted


def _damage(rng: random.Random, data: bytearray, whole: list[Any]) -> None:
    place = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0 if place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        case 1 if place < len(data):
            data[place] = rng.choice(ODD)
        case 2:
            del data[place:]
        case 3:
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
        case 4:
            data[place:place] = bytes(rng.choice(whole).data[: rng.randrange(1, 200)])
        case 5:
            del data[place : place + rng.randrange(1, 9)]
        case _:
            data[place:place] = bytes([rng.choice(ODD)]) * rng.choice([1, 2, 50, 3000])


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    became, slowest = run(count, seed)
    sys.stdout.write(f"seed {seed}: {dict(became)}, slowest {slowest * 1000:.1f} ms\n")
    return slowest > 0.3


if __name__ == "__main__":
    raise SystemExit(main())
