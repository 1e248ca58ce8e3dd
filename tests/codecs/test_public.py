"""The documents' JSON-able form of vectors."""

import json
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from cascada.codecs.public import deserialize_from_cache, serialize_for_cache
from tests.codecs.samples import CODEC

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


@pytest.mark.parametrize("value", [*VECTORS, {"a": 1}, "text", None])
def test_values_of_other_types_pass_unchanged(value: Any) -> None:
    assert serialize_for_cache(value, "agent_config") is value
    assert deserialize_from_cache(value, "agent_config") is value


@pytest.mark.parametrize("value", [[0.5, 1.0], {"ids": [1]}, None, "text"])
def test_what_is_public_already_passes_unchanged(value: Any) -> None:
    assert serialize_for_cache(value, "embedding") is value
    assert deserialize_from_cache(value, "vector_store") is value
