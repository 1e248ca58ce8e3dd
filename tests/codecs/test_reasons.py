"""Why a value does not decode is said without the value: it is written into logs."""

import traceback
from enum import Enum
from typing import Annotated, Any, Literal

import pydantic
import pytest

from cascada.model.entry import Codec
from cascada.model.errors import CorruptEntry
from tests.codecs.samples import CODEC


class Colour(Enum):
    RED = "red"


class Guarded(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError(f"{name} is too long")
        return name


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"name": "hunter2"}, Guarded),
        ([{"name": "hunter2"}], list[Guarded]),
        ({"kind": "hunter2"}, Pet),
        ("hunter2", Colour),
        ({"hunter2 - at `$": "hunter2"}, dict[str, Colour]),
        (["hunter2"], list[Literal["a"]]),
    ],
)
def test_why_a_value_does_not_decode_is_said_without_it(value: Any, wanted: Any) -> None:
    """A validator's own sentence holds the value, and so do some of pydantic's and msgspec's."""
    data = CODEC.encode(value).data
    with pytest.raises(CorruptEntry) as caught:
        CODEC.decode(data, Codec.MSGPACK, 0, type=wanted)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
