"""The built-in embedder: words and character trigrams, hashed into a vector. It needs no weights.

It is LEXICAL: texts are near when they share words and parts of words, whatever they mean
("cancel the order" is near to "do not cancel the order"). That is enough to search documents by
sentences of theirs; for meaning, configure an endpoint (embedding.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Final
from zlib import crc32

DIMENSIONS: Final = 256
_WORD: Final = re.compile(r"[^\W_]+")
_SHORT_WORD = 3  # letters; such words ("the", "of") are in every text and say little
_WEIGHT_OF_SHORT = 0.2
_WEIGHT_OF_TRIGRAM = 0.3


class LexicalEmbedder:
    """Deterministic on every machine: the hash is CRC-32, not Python's."""

    name = "lexical (hashed words and trigrams)"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [_embed(text) for text in texts]

    async def aclose(self) -> None:
        return None


def _embed(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in _WORD.findall(text.lower()):
        for place, weight in _features(word):
            vector[place] += weight
    length = sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]


@lru_cache(maxsize=50_000)  # a language repeats its words, so hashing them once is most of it
def _features(word: str) -> tuple[tuple[int, float], ...]:
    weight = _WEIGHT_OF_SHORT if len(word) <= _SHORT_WORD else 1.0
    framed = f"^{word}$"
    grams = [framed[i : i + 3] for i in range(len(framed) - 2)] if weight == 1.0 else []
    features = [(word, weight)] + [(gram, _WEIGHT_OF_TRIGRAM) for gram in grams]
    return tuple(_place(feature, weight) for feature, weight in features)


def _place(feature: str, weight: float) -> tuple[int, float]:
    code = crc32(feature.encode())
    # A bit that the place does not use gives the sign, so that collisions cancel on average.
    return code % DIMENSIONS, weight if code & 0x8000_0000 else -weight
