"""zstd, if it is installed and where it helps; decompression never makes more than it is allowed.

Compressors are kept one to a thread: they are no good to two at once, and large values are encoded
in worker threads.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import import_module
from typing import Any

from cascada.model.errors import CorruptEntry

_of_thread = threading.local()


@cache
def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        return None


def compressed(data: bytes) -> bytes | None:
    """`data` compressed; None if that is not smaller, or zstandard is not installed."""
    zstandard = _zstandard()
    if zstandard is None:
        return None
    compressor = getattr(_of_thread, "compressor", None)
    if compressor is None:
        compressor = _of_thread.compressor = zstandard.ZstdCompressor(level=1)
    smaller: bytes = compressor.compress(data)
    return trimmed(smaller) if len(smaller) < len(data) else None


def trimmed(data: bytes) -> bytes:
    """The same in no more memory than it says. Encoders set aside up to twice of what they need,
    and keep it: the bound of the memory tier would be off by a third."""
    return b"".join((data, b""))


def size_of(data: bytes) -> int:
    """The bytes that compressed data says it decompresses to."""
    zstandard = _zstandard()
    return len(data) if zstandard is None else int(zstandard.frame_content_size(data))


def decompressed(data: bytes, limit: int) -> bytes:
    """What was compressed; CorruptEntry if it is no zstd frame or more than `limit` bytes."""
    zstandard = _zstandard()
    if zstandard is None:
        raise CorruptEntry("a compressed entry needs zstandard to be read: install cascada[zstd]")
    try:
        # The size that a frame announces is allocated at once, whatever limit is given; and the
        # whole limit, where it announces none, which what is written here never does.
        announced = zstandard.frame_content_size(data)
        if announced < 0:
            raise CorruptEntry("an entry does not say how large it was before its compression")
        if announced > limit:
            raise CorruptEntry(f"an entry would decompress to {announced} bytes of at most {limit}")
        decompressor = getattr(_of_thread, "decompressor", None)
        if decompressor is None:
            decompressor = _of_thread.decompressor = zstandard.ZstdDecompressor()
        original: bytes = decompressor.decompress(
            data, max_output_size=limit, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptEntry(f"an entry does not decompress: {error}") from error
    return original
