"""Documents to searchable pieces: split where paragraphs and sentences end, embed all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from examples.agent_service.embedding import Embedder
from examples.agent_service.queries.documents import Piece
from examples.agent_service.records import Document
from examples.agent_service.vectors import pack

PIECE_LENGTH: Final = 700
"""Characters of a piece, at most; only a sentence that is longer is cut inside."""

_SENTENCE: Final = re.compile(r"(?<=[.!?:])\s+|\n\s*\n")


def split(text: str, length: int = PIECE_LENGTH) -> list[str]:
    """Pieces of at most `length` characters that together say the whole text."""
    pieces: list[str] = []
    current = ""
    for sentence in _sentences(text, length):
        if current and len(current) + 1 + len(sentence) > length:
            pieces.append(current)
            current = sentence
        else:
            current = f"{current} {sentence}" if current else sentence
    return [*pieces, current] if current else pieces


async def embed_documents(
    embedder: Embedder, documents: Sequence[Document]
) -> list[tuple[Document, list[Piece]]]:
    """Each document with its pieces; one call of the embedder for all of them.

    A piece is embedded with its title, which often holds the word that is asked for.
    """
    split_texts = [split(document["text"]) for document in documents]
    titled = [
        f"{document['title']}\n{piece}"
        for document, pieces in zip(documents, split_texts, strict=True)
        for piece in pieces
    ]
    vectors = iter(await embedder.embed(titled) if titled else [])
    return [
        (document, [(piece, pack(next(vectors))) for piece in pieces])
        for document, pieces in zip(documents, split_texts, strict=True)
    ]


def _sentences(text: str, length: int) -> list[str]:
    sentences = (" ".join(part.split()) for part in _SENTENCE.split(text))
    return [
        sentence[start : start + length]
        for sentence in sentences
        for start in range(0, len(sentence), length)
    ]
