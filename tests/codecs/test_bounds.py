"""What becomes much more than its bytes say is refused before it does, on both ways alike."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import numpy
import pytest

from cascada.codecs import bounds
from cascada.codecs.bounds import MAX_ALIKE, MAX_ITEMS, MAX_PARTS
from cascada.model.errors import CorruptEntry, SerializationError
from tests.codecs.bombs import BOMBS, MOD, array, endless, looped, tuples_alike
from tests.codecs.samples import CODEC, back, exact


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_corrupt_and_goes_off_nowhere(name: str) -> None:
    data, flags, codec = BOMBS[name]()
    started = time.process_time()
    with pytest.raises(CorruptEntry):
        CODEC.decode(data, codec, flags)
    # A tenth of that on a quiet machine; what it would become takes seconds, or all memory.
    assert time.process_time() - started < 1.5
    tracemalloc.start()
    with pytest.raises(CorruptEntry):
        CODEC.decode(data, codec, flags)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 * 2**20


def test_keys_of_a_dict_count_as_items_as_they_do_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "MAX_ITEMS", 100)
    assert back(dict.fromkeys(range(50))) == dict.fromkeys(range(50))
    with pytest.raises(SerializationError, match="100 items"):
        CODEC.encode(dict.fromkeys(range(51)))


class Many(msgspec.Struct):
    items: Any


REFUSED: dict[str, Callable[[], Any]] = {
    "endless": endless,
    "a tuple of the endless": lambda: (endless(),),
    "looped": looped,
    "many parts": lambda: [[] for _ in range(MAX_PARTS)],
    "many tuples": lambda: [()] * MAX_PARTS,
    "many numbers": lambda: [0] * (MAX_ITEMS + 1),
    "many big numbers": lambda: [2**70] * (MAX_PARTS + 1),
    "numbers alike": lambda: {k * MOD for k in range(MAX_ALIKE + 2)},
    "keys alike": lambda: {"d": dict.fromkeys(tuples_alike(MAX_ALIKE + 1))},
    "tuples alike": lambda: (frozenset(tuples_alike(MAX_ALIKE + 1)),),
    "rows of nothing": lambda: [numpy.zeros((10**7, 0))],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_read_is_not_stored(name: str) -> None:
    value = REFUSED[name]()
    for wanted in (None, Any) if name == "endless" else (None,):
        with pytest.raises(SerializationError, match=r"^value"):
            CODEC.encode(value, type=wanted)


@pytest.mark.parametrize("name", ["endless", "looped", "many parts"])
def test_nor_as_a_part_of_what_is_declared(name: str) -> None:
    with pytest.raises(SerializationError, match=r"^value"):
        CODEC.encode(Many(REFUSED[name]()), type=Many)


FITTING: dict[str, Any] = {
    "many parts": [[] for _ in range(MAX_PARTS - 1)],
    "texts like parts": ["\u0410\u0650\u07ff" * 9, "\u0080\u009f" * 300_000],
    "bytes like parts": {"all": bytes(range(128, 256)) * 5000},
    "floats": [[float(n) for n in range(100, 400)] for _ in range(400)],
    "numbers": [list(range(k, k + 40)) for k in range(0, 2**16, 40)],
    "a grid": {(x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)},
    "a dict of lists": {f"{n}": [n, [n]] for n in range(5000)},
    "a dict of tuples": {(n, -n): (n,) for n in range(5000)},
    "nearly alike": {k * MOD for k in range(MAX_ALIKE)},
    "no rows": [(numpy.zeros((0, 10**9)), 1)],
}


@pytest.mark.parametrize("name", FITTING)
def test_what_is_within_the_bounds_comes_back(name: str) -> None:
    value = FITTING[name]
    again = back(value)
    if name == "no rows":
        assert again[0][0].shape == (0, 10**9)
    else:
        assert again == value


def test_a_typed_dict_with_odd_keys_comes_back_unless_they_are_alike() -> None:
    value = {(n, -n): n for n in range(5000)}
    assert exact(back(value, type=dict[tuple[int, int], int])) == exact(value)
    alike = dict.fromkeys(tuples_alike(5000), 1)
    with pytest.raises(SerializationError, match="one hash"):
        CODEC.encode(alike, type=dict[tuple[int, int], int])


@pytest.mark.parametrize("shape", [(65_537, 0), (2, 40_000, 0), (0, 2**63, 0, 2**63)])
def test_an_array_without_items_has_few_rows(shape: tuple[int, ...]) -> None:
    data = array(shape)
    if shape[0] == 0:
        with pytest.raises(CorruptEntry):  # numpy's own bound
            CODEC.decode(data, 3, 0)
        return
    with pytest.raises(CorruptEntry, match="without items"):
        CODEC.decode(data, 3, 0)
