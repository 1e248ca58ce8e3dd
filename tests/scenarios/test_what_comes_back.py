"""What comes back from every tier is what went in: value, type, order, zone and bits."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
import pytest

from cascada import Cache, SerializationError
from tests.codecs.samples import exact


@dataclass(frozen=True)
class Frozen:
    a: int


BERLIN = ZoneInfo("Europe/Berlin")
TWICE = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
TINY = float.fromhex("0x1p-1074")
VALUES: list[Any] = [
    0, False, -0.0, 1, True, 1.0, 2**53 + 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**400, TINY,
    float("inf"), "", "\x00", "ñ☃", b"", b"\xff", 1j, complex(-0.0, float("-inf")),
    [1, True, 1.0], {1: "a", "1": "b", None: 1, 1.5: 2, b"1": 3}, {True: 1, "true": 2},
    {"z": 1, "a": 2}, {(1, "a"): {frozenset({1}): [()]}}, (), ((),), ([],), set(), frozenset(),
    {1, "1", b"1", None, (1, 2)}, {2**70: -(2**70)}, [Decimal("1.00"), Decimal("-0")],
    [Decimal("NaN"), Decimal("sNaN1"), Decimal("-Infinity")], UUID(int=1), date(1, 1, 1),
    time(1, fold=1), time(2, tzinfo=BERLIN), time(2, tzinfo=timezone(timedelta(hours=2), "CEST")),
    TWICE, TWICE.replace(fold=1), TWICE.replace(tzinfo=None, fold=1),
    datetime(2024, 7, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 7, 1, tzinfo=UTC),
    timedelta(days=-1, microseconds=1),
    {"deep": [{"er": ({"set": {BERLIN.key, 1}}, [{"at": datetime(2024, 1, 1, tzinfo=BERLIN)}])}]},
]  # fmt: skip

ARRAYS: list[Any] = [
    numpy.array(1.5), numpy.array([]), numpy.zeros((0, 3)), numpy.arange(6).reshape(2, 3).T,
    numpy.array([1, 2], ">i2"), numpy.array([True]), numpy.array(["ñ", "ab"]), numpy.array([b"a"]),
    numpy.array(["2024-01-01", "NaT"], "M8[D]"), numpy.array([1, 2], "m8[25s]"),
    numpy.array([numpy.nan, -0.0, numpy.inf], "f2"), numpy.array([1 + 2j], "c8"),
]  # fmt: skip

REFUSED: list[Any] = [
    numpy.float64(1), numpy.array([None]), numpy.zeros(1, [("a", "i4")]), numpy.ma.array([1]),
    bytearray(b"a"), memoryview(b"a"), range(3), "\ud800", type, [[object()]],
]  # fmt: skip


@pytest.mark.parametrize("tiers", ["redis and sqlite"], indirect=True)
async def test_every_tier_gives_back_what_it_was_given(make_cache: Callable[..., Cache]) -> None:
    here, there, lowest = make_cache(), make_cache(), make_cache(redis=None)
    writer = here.tenant("acme")
    for number, value in enumerate([*VALUES, *ARRAYS]):
        assert await writer.set("x", number, value), value
    seen = set()
    for reader in (here, here, there, there, lowest, lowest):  # the second time from memory
        hits = await reader.tenant("acme").get_many("x", range(len(VALUES) + len(ARRAYS)))
        seen |= {hit.tier for hit in hits}
        for value, hit in zip(VALUES, hits, strict=False):
            assert exact(hit.value) == exact(value)
        for array, hit in zip(ARRAYS, hits[len(VALUES) :], strict=True):
            assert (hit.value.dtype.str, hit.value.shape) == (array.dtype.str, array.shape)
            assert hit.value.tobytes() == array.tobytes()
    assert seen == {"l1", "l2", "l3"}


@pytest.mark.parametrize("tiers", ["redis", "sqlite"], indirect=True)
async def test_who_does_not_say_the_type_gets_the_same_in_every_process(
    make_cache: Callable[..., Cache],
) -> None:
    here, there = (make_cache().tenant("acme") for _ in range(2))
    values = [Decimal(1), date(2024, 1, 1), (1, 2), frozenset({1}), UUID(int=1), Frozen(1), 7]
    for number, value in enumerate(values):
        await here.set("x", number, value, type=type(value))
        await here.load("y", number, lambda value=value: value, type=type(value))
        for data_type in ("x", "y"):
            plain = [await reader.get(data_type, number) for reader in (here, there, there)]
            assert len({repr(hit.value) for hit in plain}) == 1
            for reader in (here, there):
                hit: Any = await reader.get(data_type, number, type=type(value))
                assert repr(hit.value) == repr(value)


@pytest.mark.parametrize("tiers", ["memory"], indirect=True)
@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
async def test_what_would_not_come_back_is_refused_and_nothing_changes(
    cache: Cache, value: Any
) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", 1, "before")
    with pytest.raises(SerializationError, match=r"^value"):
        await acme.set("x", 1, value)
    assert (await acme.get("x", 1)).value == "before"
