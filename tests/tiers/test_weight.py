"""The weight of a record against the bytes that the interpreter really takes for it."""

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cascada.codecs.values import ValueCodec
from cascada.model.clock import SystemClock
from cascada.model.entry import UNSET, Entry
from cascada.model.keys import NO_SCOPE, Key, Scope
from cascada.model.names import tag_name
from cascada.tiers.contract import Lease
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.memory.weight import weight_of

TOLERANCE = 0.15


async def weigh(count: int, size: int, scope: Scope, tags: int, *, decoded: bool) -> float:
    """The counted size of `count` new records, as a fraction of what they really take."""
    clock = SystemClock()
    tier = MemoryTier(clock, capacity_bytes=2**40)

    async def keep(resource_id: str) -> None:
        (lease,) = await tier.lease([Key("acme", "document", *scope, resource_id)], [None])
        assert isinstance(lease, Lease)
        now = clock.time()
        names = tuple(tag_name("acme", f"{resource_id}/{tag}") for tag in range(tags))
        value = os.urandom(size // 2).hex() if decoded else UNSET
        entry = Entry(os.urandom(size), 1, 0, now, now + 60, now + 90, names, None, value)
        await tier.fill([lease], [entry])

    await keep("warm")
    gc.collect()
    before = (await tier.usage()).size_bytes
    tracemalloc.start()
    try:
        for index in range(count):
            await keep(f"id-{index:07}")
        gc.collect()
        real, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return ((await tier.usage()).size_bytes - before) / real


@pytest.mark.parametrize(
    ("size", "scope", "tags", "decoded"),
    [
        (16, NO_SCOPE, 0, False),
        (200, NO_SCOPE, 0, True),
        (1024, NO_SCOPE, 0, False),
        (16384, NO_SCOPE, 0, False),
        (200, Scope("a1"), 0, False),
        (200, Scope("a1", "c1"), 0, False),
        (200, Scope("a1", "c1", "k1"), 0, False),
        (200, NO_SCOPE, 3, False),
    ],
)
async def test_a_weight_is_honest(size: int, scope: Scope, tags: int, decoded: bool) -> None:
    # A count in the middle between two growths of a dictionary, as a long-lived one is on average.
    share = await weigh(2100, size, scope, tags, decoded=decoded)
    assert abs(share - 1) < TOLERANCE


def test_a_shared_container_is_estimated_with_all_that_is_in_it() -> None:
    """`Policy(shared=True)` keeps any object; its own size says nothing of what it holds."""
    codec, count = ValueCodec(), 200
    made = [
        codec.encode({"id": f"a{n}", "tools": [f"tool {n}.{i}" for i in range(30)], "t": n / 7})
        for n in range(count)
    ]
    gc.collect()
    tracemalloc.start()
    values = [codec.decode(each.data, each.codec, 0) for each in made]
    real, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counted = sum(
        weight_of("1", Entry(each.data, value=value), []) - weight_of("1", Entry(each.data), [])
        for each, value in zip(made, values, strict=True)
    )
    assert 0.5 < counted / real < 1.5


@pytest.mark.parametrize("value", ["x" * 700, {"x": "y" * 40}, {1, 2, 3}], ids=type)
@pytest.mark.parametrize("typed", [False, True])
def test_an_encoded_value_takes_no_more_than_it_weighs(value: object, *, typed: bool) -> None:
    """Encoders set aside more than they need."""
    codec, made = ValueCodec(), [b""] * 300
    wanted = type(value) if typed else None
    codec.encode(value, type=wanted)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(len(made)):
            made[number] = codec.encode(value, type=wanted).data
        real, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (real - before) / sum(map(sys.getsizeof, made)) < 1.1


def test_a_shared_model_weighs_what_is_in_it() -> None:
    text = os.urandom(5000).hex()
    data = ValueCodec(compress_over=2**20).encode(text).data
    entry = Entry(data, value=SimpleNamespace(text=text))
    without = weight_of("1", Entry(entry.data), [])
    assert 1 <= (weight_of("1", entry, []) - without) / len(text) < 1.2


ROWS: dict[str, Callable[[int], Any]] = {
    "a text in each eighth": lambda i: f"{i}" * 100 if i % 8 == 5 else 0,
    "a dict in each fourth": lambda i: {} if i % 4 == 1 else 0,
    "a list of floats in each fourth": lambda i: (
        [i + j / 2 for j in range(20)] if i % 4 == 1 else 0
    ),
    "the heavy one last": lambda i: [0, 0, 0, f"{i}" * 60],
    "deeper": lambda i: [[0, 0], [f"{i}" * 60]],
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
@pytest.mark.parametrize("kind", [tuple, dict])
def test_what_is_heavy_at_regular_places_is_weighed_too(
    row: Callable[[int], Any], kind: Callable[[Any], Any]
) -> None:
    """Of a large value each eighth item, say, is looked at: not always the same column of rows."""
    made = [row(number) for number in range(20_000)]
    value = dict(enumerate(made)) if kind is dict else kind(made)
    entry = Entry(b"", value=value)
    assert 0.9 < weight_of("1", entry, ()) / really(value) < 1.4


def really(value: object) -> int:
    """All objects of a value of built-in types, each once."""
    seen: dict[int, int] = {}
    ahead = [value]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or (type(each) is int and -5 <= each <= 256):
            continue
        seen[id(each)] = sys.getsizeof(each)
        if isinstance(each, dict):
            ahead += [*each, *each.values()]
        elif isinstance(each, list | tuple):
            ahead += each
    return sum(seen.values())
