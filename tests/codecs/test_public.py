"""The documents' JSON-able form of values."""

import json
import math
import struct
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy
import pydantic
import pytest
from hypothesis import given

from cascada.codecs.public import as_lists, deserialize_from_cache, serialize_for_cache
from cascada.model.errors import CorruptEntry, SerializationError
from tests.codecs.samples import CODEC, exact, values

ARRAY = numpy.arange(6, dtype="f4").reshape(2, 3)
LISTS = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


class TorchTensor:
    def detach(self) -> "TorchTensor":
        return self

    def cpu(self) -> "TorchTensor":
        return self

    def numpy(self) -> Any:
        return ARRAY


VECTORS = [ARRAY, TorchTensor(), SimpleNamespace(numpy=lambda: ARRAY)]


@pytest.mark.parametrize("data_type", ["embedding", "vector_store"])
@pytest.mark.parametrize("value", VECTORS, ids=["tolist", "torch", "tensorflow"])
def test_vectors_become_lists(value: Any, data_type: str) -> None:
    public = serialize_for_cache(value, data_type)
    assert json.loads(json.dumps(public)) == LISTS
    assert deserialize_from_cache(public, data_type) == LISTS


def test_what_was_stored_raw_comes_as_lists_too() -> None:
    encoded = CODEC.encode(ARRAY)
    stored = CODEC.decode(encoded.data, encoded.codec, encoded.flags)
    assert deserialize_from_cache(stored, "embedding") == LISTS


@dataclass
class Tool:
    name: str
    cost: Decimal
    at: datetime


class Agent(pydantic.BaseModel):
    tools: list[Tool]
    anything: Any = None


class Place(NamedTuple):
    x: float
    y: float


class Colour(Enum):
    RED = "red"


AT = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
TOOL = Tool("search", Decimal("1.50"), AT)
LOOKALIKES: list[Any] = [
    {"$cascada": ["tuple", [1]]}, {"$cascada": 1}, {"$cascada": {"$cascada": []}},
    {"$cascada": 1, "a": 2},
    [{"a": {"$cascada": ["object", "os:system", 1, ""]}}],
]  # fmt: skip
OBJECTS: list[Any] = [
    TOOL, {"a": [TOOL]}, Agent(tools=[TOOL], anything=(1, {2})), (Place(1.0, 2.0),), {Colour.RED},
    {Place(1.0, 2.0): Colour.RED}, 10**5000, -(2**20_000),
]  # fmt: skip


def there_and_back(value: Any, data_type: str = "agent_config") -> Any:
    text = json.dumps(serialize_for_cache(value, data_type))
    return deserialize_from_cache(json.loads(text), data_type)


@given(values)
def test_every_value_comes_back_from_its_public_form(value: Any) -> None:
    for data_type in ("agent_config", "embedding"):
        assert plain_nan(exact(there_and_back(value, data_type))) == plain_nan(exact(value))


def plain_nan(form: Any) -> Any:
    """JSON has one nan."""
    if isinstance(form, list | tuple):
        if form[:1] == ("float",) and math.isnan(struct.unpack("<d", form[1])[0]):
            return "nan"
        return [*map(plain_nan, form)]
    return form


@pytest.mark.parametrize("value", [*LOOKALIKES, *OBJECTS], ids=lambda value: type(value).__name__)
def test_what_looks_like_it_and_objects_come_back(value: Any) -> None:
    again = there_and_back(value)
    assert again == value
    assert type(again) is type(value)
    if not isinstance(value, int):
        assert repr(again) == repr(value)


@pytest.mark.parametrize("data_type", ["embedding", "vector_store"])
def test_arrays_are_lists_at_any_depth_of_a_vector(data_type: str) -> None:
    for vector in VECTORS:
        value = {"vectors": [vector], "more": {"of": (vector, 1)}, "n": 1}
        lists = {"vectors": [LISTS], "more": {"of": (LISTS, 1)}, "n": 1}
        assert there_and_back(value, data_type) == lists
        assert as_lists(value, data_type) == lists


@pytest.mark.parametrize("data_type", ["embedding", "vector_store"])
def test_what_json_lacks_is_written_in_those_lists_too(data_type: str) -> None:
    for array in (numpy.array([1 + 2j]), numpy.array(["2026-01-02"], "M8[D]")):
        assert there_and_back({"vectors": array}, data_type) == {"vectors": array.tolist()}


def test_an_array_of_another_type_comes_back_as_an_array() -> None:
    again = there_and_back({"vectors": (ARRAY, 1)})
    assert again["vectors"][0].dtype == ARRAY.dtype
    assert (again["vectors"][0] == ARRAY).all()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "value "), ({"a": [1, object()]}, r"value\.a\[1\] "),
        ({"a": {1: print}}, r"value\.a\[1\] "),
        ({"a": (range(3),)}, r"value\.a\[0\] "), ([numpy.array([None])], r"value\[0\] "),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(SerializationError, match=f"^{path}"):
        serialize_for_cache(value, "agent_config")


@pytest.mark.parametrize(
    "public",
    [
        {"$cascada": 1}, {"$cascada": []}, {"$cascada": ["what", []]}, {"$cascada": ["int", "x"]},
        {"$cascada": ["object", "os:system", 1, "gA=="]},
        {"$cascada": ["object", "x.y:Z", 1, "gA=="]},
        {"$cascada": ["object", "builtins:int", 1, "gA=="]}, {"$cascada": ["value", 1, "!"]},
        {"$cascada": ["set", [[]]]}, {"$cascada": ["tuple", 1]},
    ],
)  # fmt: skip
def test_what_was_not_written_so_is_corrupt(public: Any) -> None:
    with pytest.raises(CorruptEntry):
        deserialize_from_cache([public], "agent_config")


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"a": value})
    with pytest.raises(SerializationError, match=r"^value"):
        serialize_for_cache(value, "agent_config")
