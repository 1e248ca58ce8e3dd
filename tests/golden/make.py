"""Write the golden files of the present layout: `python -m tests.golden.make`.

A file that exists is never written again: it stands for what released versions have stored. What is
new gets a new case, and a new layout a new folder.
"""

import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy
import pydantic

from cascada.codecs.envelope import home_of, pack
from cascada.codecs.values import ValueCodec
from cascada.model.entry import Codec, Entry, Flag

FOLDER = Path(__file__).parent / "v1"
CODEC = ValueCodec()
HOME = home_of(b"shop.0:{b0}:v:acme:document:7")

CREATED, FRESH, EXPIRES = 1_700_000_000.123, 1_700_003_600.5, 1_700_007_200.0
STAMPS = (b"epoch-01", b"\x00\x01\x02\x03\x04\x05\x06\x07", b"group-07")


@dataclass(frozen=True)
class Tool:
    name: str
    cost: Decimal
    tags: frozenset[str]


class Agent(pydantic.BaseModel):
    id: UUID
    tools: list[Tool]
    seen: datetime
    anything: Any = None


@dataclass(frozen=True)
class Case:
    """A value, how it is encoded, and what else its entry has."""

    value: Any
    how: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    stamps: tuple[bytes, ...] = ()


MIXED = {"text": "ñandú ☃", "n": -(2**63), "x": 0.1, "none": None, "list": [True, b"\x00", {}]}
LENDABLE = (1, frozenset({"a"}), None)

CASES = {
    "plain": Case(MIXED),
    "none": Case(None, entry={"version": 0}),
    "forever": Case(0, entry={"fresh_until": float("inf"), "expires": float("inf")}),
    "keys": Case({"b": 1, "a": 2, 3: 4, None: 5, 1.5: 6, False: 7, b"k": 8}),
    "names_and_stamps": Case(
        "value", entry={"names": ("#:acme:news", "k:acme:document:ñ"), "version": -7}, stamps=STAMPS
    ),
    "collections": Case([LENDABLE, {"b", "a", "c"}, {(1, 2): "pair", 2**70: -(2**70)}]),
    "atoms": Case(
        [
            Decimal("1.50"),
            UUID(int=2**100),
            date(2024, 2, 29),
            time(1, 2, 3, 4, fold=1),
            time(23, 59, tzinfo=timezone(timedelta(hours=-5))),
            datetime(2024, 2, 29, 1, 2, 3, 4),  # noqa: DTZ001 - a naive one is a value, too
            datetime(2024, 2, 29, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, microseconds=1))),
            timedelta(days=-1, seconds=5, microseconds=6),
            complex(1.5, -2),
            2**64,
            -(2**63) - 1,
        ]
    ),
    "tuple": Case(LENDABLE, stamps=STAMPS[:1]),
    "vector": Case([0.5, -1.25, 0.0, float("inf")], {"vectors": True}),
    "vector_double": Case([1e300, -0.1], {"vectors": True}),
    "array": Case(numpy.arange(6, dtype="<f4").reshape(2, 3)),
    "array_of_text": Case(numpy.array([["ñ", "b"]], dtype="<U2")),
    "array_inside": Case({"ids": (1, 2), "vectors": numpy.arange(4, dtype="<i8")}),
    "dataclass": Case(Tool("search", Decimal("0.10"), frozenset({"web"})), {"type": Tool}),
    "model": Case(
        Agent(
            id=UUID(int=7),
            tools=[Tool("calc", Decimal(0), frozenset())],
            seen=datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=2))),
            anything=(1, {2}),
        ),
        {"type": Agent},
    ),
    "compressed": Case({"text": "said again " * 1000}),
}

ABSENCE = Entry(
    b"", Codec.NOTHING, int(Flag.ABSENT | Flag.GENERATOR_ASKED), CREATED, FRESH, EXPIRES
)


def packed(case: Case) -> bytes:
    encoded = CODEC.encode(case.value, **case.how)
    facts = {"created": CREATED, "fresh_until": FRESH, "expires": EXPIRES, **case.entry}
    entry = Entry(encoded.data, encoded.codec, int(encoded.flags), **facts)
    return pack(entry, HOME, case.stamps)


def blobs() -> dict[str, bytes]:
    return {"absence": pack(ABSENCE, HOME, STAMPS), **{name: packed(CASES[name]) for name in CASES}}


def main() -> int:
    """Write what is not there yet; 1 if a file that is there would have changed."""
    FOLDER.mkdir(exist_ok=True)
    changed = 0
    for name, blob in blobs().items():
        path = FOLDER / f"{name}.bin"
        if not path.exists():
            path.write_bytes(blob)
            sys.stdout.write(f"made {path.name}, {len(blob)} bytes\n")
        elif path.read_bytes() != blob:
            sys.stderr.write(f"{path.name} is not what is written today; it stays as it is\n")
            changed = 1
    return changed


if __name__ == "__main__":
    raise SystemExit(main())
