"""Vectors and arrays: raw, aligned, read-only, as exact as promised."""

import math
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cascada.codecs.immutable import immutable
from cascada.codecs.values import AS_ARRAY, Encoded
from cascada.model.entry import UNSET, Codec
from cascada.model.errors import CorruptEntry, SerializationError
from tests.codecs.samples import CODEC, exact

DTYPES = hnp.scalar_dtypes().filter(lambda dtype: dtype.itemsize <= 16 and dtype.char not in "gG")
VECTOR = [math.sin(i) for i in range(1536)]


def decoded(encoded: Encoded, **how: Any) -> Any:
    return CODEC.decode(encoded.data, encoded.codec, encoded.flags, **how)


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_an_array_comes_back_with_its_dtype_shape_and_bytes(array: Any) -> None:
    encoded = CODEC.encode(array)
    assert encoded.codec is Codec.ARRAY
    again = decoded(encoded)
    assert type(again) is numpy.ndarray
    assert (again.dtype, again.shape, again.tobytes()) == (
        array.dtype,
        array.shape,
        array.tobytes(),
    )
    assert not again.flags.writeable
    assert again.ctypes.data % 8 == 0
    assert decoded(encoded, type=numpy.ndarray).tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [numpy.zeros(3, ">f8"), numpy.zeros((2, 2), order="F")])
def test_byte_order_is_kept_and_layout_is_made_plain(array: Any) -> None:
    again = decoded(CODEC.encode(array))
    assert again.dtype.str == array.dtype.str
    assert again.flags.c_contiguous


def test_nobody_can_make_a_decoded_array_writable() -> None:
    again = decoded(CODEC.encode(numpy.zeros((2, 3))))
    with pytest.raises(ValueError, match="WRITEABLE"):
        again.flags.writeable = True


def test_arrays_inside_of_values_come_back() -> None:
    value = {"ids": ["a"], "vectors": numpy.eye(3, dtype="f4"), "pair": (numpy.arange(2), None)}
    encoded = CODEC.encode(value)
    again = decoded(encoded)
    assert (again["vectors"] == value["vectors"]).all()
    assert again["pair"][0].dtype == numpy.arange(2).dtype
    assert encoded.value is UNSET


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (numpy.array([object()]), "dtype |O, which has no portable bytes"),
        (numpy.zeros(2, [("a", "f4")]), "no portable bytes"),
        (numpy.zeros(2, "g"), "no portable bytes"),
        (SimpleNamespace(dtype="bfloat16", shape=(2,), tobytes=lambda: b"1234"), "dtype bfloat16"),
        (numpy.float32(1), "is a numpy.float32, a scalar; pass its .item()"),
        (numpy.float64(1), "pass its .item()"),
        (numpy.ma.masked_array([1, 2], [False, True]), "pass numpy.asarray of it"),
    ],
)
def test_what_has_no_portable_bytes_is_refused(array: Any, says: str) -> None:
    for value, path in ((array, "value "), ({"v": [array]}, "value.v[0] ")):
        with pytest.raises(SerializationError) as caught:
            CODEC.encode(value)
        assert str(caught.value).startswith(path)
        assert says in str(caught.value)


class TorchTensor:
    """What a PyTorch tensor shows: no bytes of its own, only the way to numpy."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.dtype = array.dtype
        self.shape = array.shape

    def detach(self) -> "TorchTensor":
        return self

    def cpu(self) -> "TorchTensor":
        return self

    def numpy(self) -> Any:
        if self._array.dtype == numpy.float16:  # stands for bfloat16
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array


def tensorflow_tensor(array: Any) -> Any:
    return SimpleNamespace(dtype=array.dtype, shape=array.shape, numpy=lambda: array)


@pytest.mark.parametrize("tensor", [TorchTensor, tensorflow_tensor])
def test_a_tensor_comes_back_as_an_array(tensor: Any) -> None:
    array = numpy.arange(6, dtype="f4").reshape(2, 3)
    assert (decoded(CODEC.encode(tensor(array))) == array).all()
    assert (decoded(CODEC.encode({"t": tensor(array)}))["t"] == array).all()


def test_a_tensor_that_numpy_cannot_hold_is_refused() -> None:
    with pytest.raises(SerializationError, match="that numpy cannot hold; pass it as float32"):
        CODEC.encode(TorchTensor(numpy.zeros(2, "f2")))


def test_a_declared_array_is_stored_raw_and_nothing_else_fits() -> None:
    encoded = CODEC.encode(numpy.zeros(3), type=numpy.ndarray)
    assert encoded.codec is Codec.ARRAY
    with pytest.raises(CorruptEntry, match="an array was stored"):
        decoded(encoded, type=list[float])
    with pytest.raises(SerializationError):
        CODEC.encode([1.0], type=numpy.ndarray)
    optional = CODEC.encode(numpy.zeros(3), type=numpy.ndarray | None)
    assert decoded(optional, type=numpy.ndarray | None).shape == (3,)


@given(st.lists(st.floats(width=32), min_size=1))
def test_a_list_of_float32_is_exact(vector: list[float]) -> None:
    assert exact(decoded(CODEC.encode(vector, vectors=True))) == exact(vector)


@given(st.lists(st.floats(), min_size=1))
def test_a_vector_keeps_every_item_to_the_promised_error(vector: list[float]) -> None:
    encoded = CODEC.encode(vector, vectors=True)
    assert encoded.codec is Codec.FLOATS
    again = decoded(encoded)
    assert type(again) is list
    for item, before in zip(again, vector, strict=True):
        if math.isfinite(before):
            assert abs(item - before) <= 6e-8 * abs(before)
        else:  # what a NaN carries may be more than 32 bits hold
            assert item == before or (math.isnan(item) and math.isnan(before))
    assert exact(decoded(CODEC.encode(vector, vectors=True, exact_floats=True))) == exact(vector)


@pytest.mark.parametrize(
    ("vector", "size"),
    [
        (VECTOR, 4),
        ([0.0, -0.0, 1.0], 4),
        ([math.inf, math.nan], 4),
        ([1e39], 8),
        ([3.4028235677973366e38], 8),
        ([1.0, 1e-40], 8),
        ([-5e-324], 8),
        ([2.0**-126], 4),
    ],
)
def test_float32_is_taken_where_it_suffices(vector: list[float], size: int) -> None:
    assert len(CODEC.encode(vector, vectors=True).data) == size * len(vector) + 1


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1],
        [1.0, 2],
        [1.0, True],
        [1.0, None],
        [1.0, 2**63],
        [1.0, 2**70],
        [1.0, [2.0]],
        [1.0, "x" * 8],
        [[1.0], [2.0]],
        (1.0, 2.0),
        {"v": [1.0]},
        [1.0] * 15 + [2],
        [1.0] * 65535 + [2],
    ],
)
def test_what_is_no_list_of_floats_stays_exact(value: Any) -> None:
    encoded = CODEC.encode(value, vectors=True)
    assert encoded.codec is not Codec.FLOATS
    assert exact(decoded(encoded)) == exact(value)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65535, 65536, 70000])
def test_vectors_of_every_length_are_floats(count: int) -> None:
    encoded = CODEC.encode([0.5] * count, vectors=True)
    assert encoded.codec is Codec.FLOATS
    assert decoded(encoded) == [0.5] * count


def test_lists_of_floats_are_exact_unless_they_are_called_vectors() -> None:
    assert CODEC.encode(VECTOR).codec is Codec.MSGPACK
    assert decoded(CODEC.encode(VECTOR)) == VECTOR


def test_a_vector_comes_as_list_or_as_read_only_array() -> None:
    for exactly in (False, True):
        encoded = CODEC.encode(VECTOR, vectors=True, exact_floats=exactly)
        assert encoded.value is UNSET
        array = decoded(encoded, type=AS_ARRAY)
        assert array.tolist() == decoded(encoded)
        assert not array.flags.writeable
        assert immutable(array)


def test_other_lists_of_numbers_come_as_arrays_too() -> None:
    array = decoded(CODEC.encode([[1, 2], [3, 4]]), type=AS_ARRAY)
    assert array.shape == (2, 2)
    assert immutable(array)
    for value in (["a"], [[1.0], [1.0, 2.0]], [None]):
        with pytest.raises(CorruptEntry):
            decoded(CODEC.encode(value), type=AS_ARRAY)
    assert decoded(CODEC.encode({"a": 1}), type=AS_ARRAY) == {"a": 1}


def test_a_declared_list_of_floats_is_still_a_vector() -> None:
    encoded = CODEC.encode(VECTOR, vectors=True, type=list[float])
    assert encoded.codec is Codec.FLOATS
    assert type(decoded(encoded, type=list[float])) is list
    assert type(decoded(encoded, type=tuple[float, ...])) is tuple
    with pytest.raises(CorruptEntry):
        decoded(encoded, type=list[str])
    assert CODEC.encode((0.5,), vectors=True, type=tuple[float, ...]).codec is Codec.MSGPACK


def test_an_array_that_is_called_a_vector_stays_an_array() -> None:
    encoded = CODEC.encode(numpy.zeros(3), vectors=True)
    assert encoded.codec is Codec.ARRAY
    assert decoded(encoded).dtype == numpy.float64


@given(st.binary(), st.sampled_from([Codec.ARRAY, Codec.FLOATS]), st.booleans())
def test_any_bytes_are_a_vector_or_corrupt(data: bytes, codec: Codec, as_array: bool) -> None:
    try:
        CODEC.decode(data, codec, 0, type=AS_ARRAY if as_array else None)
    except CorruptEntry:
        return


def test_every_truncation_of_an_array_is_corrupt() -> None:
    for encoded in (CODEC.encode(numpy.zeros((2, 3))), CODEC.encode([1.5, 2.5], vectors=True)):
        for length in range(len(encoded.data)):
            if encoded.codec is Codec.FLOATS and length % 4 == 1 and length > 1:
                continue  # a shorter vector would be one, but for its last byte
            with pytest.raises(CorruptEntry):
                CODEC.decode(encoded.data[:length], encoded.codec, 0)


def test_a_shape_that_does_not_fit_the_bytes_is_corrupt() -> None:
    data = bytearray(CODEC.encode(numpy.zeros((2, 3))).data)
    for rows in (0, 1, 3, 2**62):
        data[48 : 48 + 8] = rows.to_bytes(8, "little")
        with pytest.raises(CorruptEntry):
            CODEC.decode(bytes(data), Codec.ARRAY, 0)


def test_little_endian_is_what_is_stored() -> None:
    data = CODEC.encode([1.0], vectors=True).data
    assert data == b"\x00\x00\x80\x3f\x04"
