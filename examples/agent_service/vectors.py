"""Vectors as raw float32 (little endian), and the search for the nearest ones.

numpy does the arithmetic where it is installed; the same in pure Python otherwise.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress

# Before the first request: an import takes a tenth of a second, for which a loop would stand still.
with suppress(ImportError):
    import numpy as np

Products = Callable[[bytes, Sequence[float]], list[float]]

_DIGITS = 5  # of a score; both ways of computing agree on so many


def pack(vector: Sequence[float]) -> bytes:
    return _little_endian(array("f", vector)).tobytes()


def unpack(data: bytes) -> list[float]:
    values = array("f")
    values.frombytes(data)
    return _little_endian(values).tolist()


def nearest(
    matrix: bytes, vector: Sequence[float], count: int, products: Products | None = None
) -> list[tuple[int, float]]:
    """The rows of `matrix` whose inner product with `vector` is greatest, and that product.

    Equal scores stand in the order of the rows, so that the same question about the same
    documents always finds the same.
    """
    if not matrix:
        return []
    products = products or (numpy_products if "numpy" in sys.modules else plain_products)
    scores = [round(score, _DIGITS) for score in products(matrix, vector)]
    best = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:count]
    return [(row, scores[row]) for row in best]


def plain_products(matrix: bytes, vector: Sequence[float]) -> list[float]:
    values, width = unpack(matrix), len(vector)
    return [
        sum(a * b for a, b in zip(values[start : start + width], vector, strict=True))
        for start in range(0, len(values), width)
    ]


def numpy_products(matrix: bytes, vector: Sequence[float]) -> list[float]:
    rows = np.frombuffer(matrix, dtype="<f4").reshape(-1, len(vector))
    products: list[float] = (rows @ np.asarray(vector, dtype="<f4")).tolist()
    return products


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values
