"""zstd where it helps, never where it does not, and never more than the bound on the way back."""

import os
import threading
from typing import Any

import msgspec
import numpy
import pytest
import zstandard

from cascada.codecs.values import ValueCodec
from cascada.model.entry import Codec, Flag
from cascada.model.errors import CorruptEntry
from tests.codecs.samples import CODEC

TEXT = {"text": "what is said twice is said well " * 500}


def test_what_shrinks_is_compressed_and_comes_back() -> None:
    encoded = CODEC.encode(TEXT)
    assert encoded.flags is Flag.COMPRESSED
    assert len(encoded.data) < 1000
    assert CODEC.decode(encoded.data, encoded.codec, encoded.flags) == TEXT


@pytest.mark.parametrize(
    ("value", "how"),
    [
        ("a" * 4000, {}),
        (os.urandom(20_000), {}),
        (numpy.zeros(5000), {}),
        ([0.0] * 5000, {"vectors": True}),
    ],
    ids=["short", "random", "array", "vector"],
)
def test_what_does_not_is_left_alone(value: Any, how: dict[str, Any]) -> None:
    assert CODEC.encode(value, **how).flags == 0


def test_the_threshold_counts_the_encoded_bytes() -> None:
    codec = ValueCodec(compress_over=100)
    assert codec.encode("a" * 98).flags is Flag.COMPRESSED  # two bytes of head
    assert codec.encode("a" * 97).flags == 0


def test_compression_serves_every_way_of_msgpack() -> None:
    for value, wanted in (
        ({"t": ("x" * 5000, 2)}, None),
        (["x" * 5000], list[str]),
        ("x" * 5000, None),
    ):
        encoded = CODEC.encode(value, type=wanted)
        assert encoded.flags is Flag.COMPRESSED
        assert CODEC.decode(encoded.data, encoded.codec, encoded.flags, type=wanted) == value
    assert encoded.value == "x" * 5000


def bomb(size: int, *, announced: bool) -> bytes:
    """A frame that is right but for its size: `size` bytes of text, as msgpack."""
    compressor = zstandard.ZstdCompressor(write_content_size=announced)
    return compressor.compress(msgspec.msgpack.encode("\x00" * (size - 5)))


def test_a_bomb_is_corrupt() -> None:
    codec = ValueCodec(max_decoded=1_000_000)
    allowed = bomb(1_000_000, announced=True)
    assert len(codec.decode(allowed, Codec.MSGPACK, Flag.COMPRESSED)) == 999_995
    with pytest.raises(CorruptEntry):
        codec.decode(bomb(1_000_001, announced=True), Codec.MSGPACK, Flag.COMPRESSED)


def test_a_frame_that_does_not_say_its_size_is_corrupt() -> None:
    """None is written so, and all that is allowed would be set aside for it."""
    with pytest.raises(CorruptEntry, match="how large"):
        CODEC.decode(bomb(10_000, announced=False), Codec.MSGPACK, Flag.COMPRESSED)


def test_a_frame_that_announces_more_than_it_holds_is_corrupt() -> None:
    data = bytearray(bomb(100_000, announced=True))
    data[5:9] = (50_000_000).to_bytes(4, "little")
    assert zstandard.frame_content_size(bytes(data)) == 50_000_000
    with pytest.raises(CorruptEntry):
        CODEC.decode(bytes(data), Codec.MSGPACK, Flag.COMPRESSED)


def test_what_is_greater_than_the_bound_is_stored_so_that_it_can_be_read() -> None:
    codec = ValueCodec(max_decoded=5000)
    encoded = codec.encode("a" * 6000)
    assert encoded.flags == 0
    assert codec.decode(encoded.data, encoded.codec, 0) == "a" * 6000


def test_every_truncation_is_corrupt() -> None:
    encoded = CODEC.encode(TEXT)
    for length in range(len(encoded.data)):
        with pytest.raises(CorruptEntry):
            CODEC.decode(encoded.data[:length], encoded.codec, encoded.flags)
    with pytest.raises(CorruptEntry):
        CODEC.decode(encoded.data + b"x", encoded.codec, encoded.flags)


def test_threads_do_not_share_a_compressor() -> None:
    values = [{"n": n, "text": os.urandom(20_000).hex()} for n in range(8)]
    wrong: list[int] = []

    def run(value: dict[str, Any]) -> None:
        for _ in range(50):
            encoded = CODEC.encode(value)
            if CODEC.decode(encoded.data, encoded.codec, encoded.flags) != value:
                wrong.append(value["n"])

    threads = [threading.Thread(target=run, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
