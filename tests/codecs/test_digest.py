"""Ids made of values: the same everywhere and for ever, and never the same for two."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import combinations
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given

from cascada.codecs.digest import generate_resource_id_hash
from cascada.model.errors import BadInput
from tests.codecs.samples import exact, values


class Colour(Enum):
    RED = "red"


class Mode(StrEnum):
    RED = "red"


class Level(IntEnum):
    ONE = 1


@dataclass
class Query:
    text: str
    k: int = 3


@dataclass
class Question:
    text: str
    k: int = 3


class Model(pydantic.BaseModel):
    text: str
    k: int = 3


class Struct(msgspec.Struct):
    text: str
    k: int = 3


DIFFERENT: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("ab", "c"), {}), (("a", "bc"), {}), (("abc",), {}), (("a", "b", "c"), {}),
    ((["a", "b"],), {}), ((("a", "b"),), {}), (([["a"], "b"],), {}), ((["a"], "b"), {}),
    ((1,), {}), (("1",), {}), ((True,), {}), ((1.0,), {}), ((b"1",), {}), ((Decimal(1),), {}),
    ((Level.ONE,), {}), ((None,), {}), (("None",), {}), (("",), {}), ((b"",), {}),
    ((0,), {}), ((0.0,), {}), ((False,), {}), ((0j,), {}), ((-1,), {}), ((255,), {}),
    ((-(2**70),), {}),
    ((float("nan"),), {}), (("nan",), {}), ((float("inf"),), {}),
    (({"a": 1},), {}), ((), {"a": 1}), ((["a", 1],), {}), (({"a": None},), {}), (({},), {}),
    (({1, 2},), {}), ((set(),), {}), (([],), {}), (((),), {}), (({(1, 2)},), {}),
    ((Colour.RED,), {}), ((Mode.RED,), {}), (("red",), {}),
    ((UUID(int=1),), {}), ((str(UUID(int=1)),), {}), ((UUID(int=1).bytes,), {}),
    ((date(2024, 1, 1),), {}), ((datetime(2024, 1, 1, tzinfo=UTC),), {}), (("2024-01-01",), {}),
    ((datetime(2024, 1, 1),), {}), ((time(0),), {}), ((timedelta(0),), {}),  # noqa: DTZ001
    ((Query("a"),), {}), ((Question("a"),), {}), ((Model(text="a"),), {}), ((Struct("a"),), {}),
    ((Query("a", 4),), {}), (({"text": "a", "k": 3},), {}), (("\ud800",), {}),
]  # fmt: skip


def test_different_parts_have_different_ids() -> None:
    ids = [generate_resource_id_hash(*parts, **named) for parts, named in DIFFERENT]
    assert len(set(ids)) == len(ids)
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in ids)


@given(values, values)
def test_two_values_have_one_id_only_if_they_are_equal(one: Any, other: Any) -> None:
    same = generate_resource_id_hash(one) == generate_resource_id_hash(other)
    if same:
        assert one == other or exact(one) == exact(other)
    assert generate_resource_id_hash(one) == generate_resource_id_hash(one)


def test_the_order_of_names_and_keys_does_not_matter() -> None:
    one = generate_resource_id_hash({"a": 1, "b": {3, 2}}, x=1, y=2)
    assert one == generate_resource_id_hash({"b": {2, 3}, "a": 1}, y=2, x=1)
    assert one != generate_resource_id_hash({"b": {2, 3}, "a": 1}, y=1, x=2)


def test_parts_and_named_parts_are_told_apart() -> None:
    for one, other in combinations(
        [
            generate_resource_id_hash("a", b="c"),
            generate_resource_id_hash("a", "b", "c"),
            generate_resource_id_hash("a", {"b": "c"}),
            generate_resource_id_hash(a="a", b="c"),
        ],
        2,
    ):
        assert one != other


SCRIPT = """
from decimal import Decimal
from uuid import UUID
from cascada.codecs.digest import generate_resource_id_hash
print(generate_resource_id_hash(
    "q", 7, -1.5, None, True, b"x", [1, (2,)], {"k": set("abcdefgh"), 3: frozenset({1})},
    UUID(int=9), Decimal("1.50"), model="m", k=5,
))
"""


@pytest.mark.parametrize("seed", ["0", "1", "424242"])
def test_the_id_is_the_same_in_every_process(seed: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    # Never change it: what is stored under such ids would no longer be found.
    assert said.stdout.strip() == "6cd30ab407bd5184dffff20065bee2f4"


class Handle:
    pass


@pytest.mark.parametrize("part", [Handle(), [Handle()], {"a": (Handle(),)}, {Handle: 1}])
def test_what_has_no_identity_of_its_own_is_refused(part: Any) -> None:
    with pytest.raises(BadInput, match=r"Handle|type"):
        generate_resource_id_hash("a", part)


def test_a_part_that_holds_itself_is_refused() -> None:
    part: list[Any] = []
    part.append(part)
    with pytest.raises(BadInput, match="holds itself"):
        generate_resource_id_hash(part)
