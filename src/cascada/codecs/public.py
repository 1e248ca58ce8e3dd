"""The JSON-able form of vectors that the documents describe; what is stored is better.

Vectors are lists of floats to whoever reads the documents. Between these two functions and the
stored bytes nothing is lost: the codecs keep an array as an array, raw.
"""

from __future__ import annotations

from typing import Any, Final

from cascada.model import arguments

_VECTOR_TYPES: Final = frozenset({"embedding", "vector_store"})


def serialize_for_cache(value: Any, data_type: str) -> Any:
    """An `embedding` or `vector_store` as nested lists; a value of any other type as it is."""
    if arguments.data_type(data_type) not in _VECTOR_TYPES:
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy().tolist()
    if hasattr(value, "numpy"):
        return value.numpy().tolist()
    return value


def deserialize_from_cache(cached: Any, data_type: str) -> Any:
    """What `serialize_for_cache` made; an array that was stored as one comes as lists, too."""
    return serialize_for_cache(cached, data_type)
