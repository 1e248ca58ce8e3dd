"""What memory really takes when it is full: `python -m tests.tiers.growth [SHAPE]`.

One line for each shape: what the interpreter has allocated and what the process has resident, over
the bound, and the entries that were kept.
"""

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from cascada import Cache, Limits, Policy
from cascada.testing.inside import inside

SECONDS = 10.0
CAPACITY = 20 * 2**20


@dataclass(frozen=True)
class Model:
    name: str
    numbers: tuple[int, ...]
    inner: "tuple[Model, ...]" = ()


def model(n: int) -> Model:
    return Model(f"model {n}", tuple(range(n, n + 300)), (Model("inner", (n, 1000 + n)),) * 30)


Shape = Callable[[int], Any]
SHAPES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "compressed tuples": (lambda n: (n, *(0,) * 500_000), {}),
    "nested empty lists": (lambda n: [n, *([[], [[]]] * 2000)], {}),
    "nested empty lists, shared": (lambda n: [n, *([[], [[]]] * 2000)], {"shared": True}),
    "nested empty tuples": (lambda n: (n, *(((n,), ((),)) for _ in range(3000))), {}),
    "frozensets": (lambda n: frozenset((n, i) for i in range(1000)), {}),
    "frozensets of numbers": (lambda n: frozenset(range(n * 5000, n * 5000 + 5000)), {}),
    "texts": (lambda n: f"{n} \u2603" + "a" * 100_000, {}),
    "texts beyond": (lambda n: f"{n} \U0001f600" * 20_000, {}),
    "tuples of texts": (lambda n: tuple(f"{n} text {i}" for i in range(20_000)), {}),
    "bytes": (lambda n: n.to_bytes(4, "big") * 50_000, {}),
    "arrays": (lambda n: numpy.full(50_000, n), {}),
    "arrays in tuples": (lambda n: tuple(numpy.full(20, n + i) for i in range(500)), {}),
    "models": (model, {"type": Model}),
    "dicts of dicts, shared": (
        lambda n: {f"{n}.{i}": {"a": i, "b": {}} for i in range(2000)},
        {"shared": True},
    ),
    "big numbers": (lambda n: (3 ** (40_000 + n), *(2**100 + i for i in range(1000))), {}),
    "small values": (lambda n: n, {}),
}  # fmt: skip


async def growth(shape: str) -> tuple[float, float, int]:
    """Bytes allocated and bytes resident over the capacity, and the entries that were kept."""
    make, policy = SHAPES[shape]
    cache = Cache(limits=Limits(l1_bytes=CAPACITY), policies={"x": Policy(**policy)})
    acme = cache.tenant("acme")
    await acme.set("x", "warm", make(0))
    gc.collect()
    resident = _resident()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept, number = 0, 0
    until = time.monotonic() + SECONDS  # values of a few bytes each never fill it
    while time.monotonic() < until:
        number += 1
        await acme.set("x", number, make(number))
        usage = await inside(cache).memory.usage()
        kept = usage.entries
        if usage.evictions > 3 and number > kept * 1.2:
            break
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    grown = _resident() - resident
    await cache.aclose()
    return (after - before) / CAPACITY, grown / CAPACITY, kept


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main() -> int:
    worst = 0.0
    for shape in sys.argv[1:] or SHAPES:
        allocated, resident, kept = asyncio.run(growth(shape))
        sys.stdout.write(f"{shape:28} {allocated:5.2f} {resident:6.2f} {kept:7}\n")
        sys.stdout.flush()
        worst = max(worst, allocated)
    return worst > 2


if __name__ == "__main__":
    raise SystemExit(main())
