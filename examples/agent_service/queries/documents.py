"""Rows of collections, their documents, and the pieces that are searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import delete, func, insert, select

from examples.agent_service.database import NotThere, TenantRows, explained
from examples.agent_service.records import Collection, Document, VectorStore
from examples.agent_service.schema import chunks, collections, documents

_DOCUMENT = (documents.c.id, documents.c.collection_id, documents.c.title, documents.c.text)

Piece = tuple[str, bytes]
"""A piece of a document's text, and its embedding."""


class DocumentRows(TenantRows):
    """Collections and documents of one tenant."""

    async def collection(self, collection_id: str) -> Collection | None:
        count = (
            select(func.count())
            .where(self._own(documents, collection_id=collection_id))
            .scalar_subquery()
        )
        query = select(collections.c.id, collections.c.name, count.label("documents"))
        row = await self._one(query.where(self._own(collections, id=collection_id)))
        return cast(Collection | None, row)

    async def add_collection(self, collection_id: str, name: str) -> None:
        row = {"tenant_id": self._tenant, "id": collection_id, "name": name}
        await self._add(insert(collections).values(row), f"collection {collection_id!r}")

    async def remove_collection(self, collection_id: str) -> bool:
        query = delete(collections).where(self._own(collections, id=collection_id))
        return bool(await self._change(query))

    async def get(self, collection_id: str, document_id: str) -> Document | None:
        own = self._own(documents, collection_id=collection_id, id=document_id)
        return cast(Document | None, await self._one(select(*_DOCUMENT).where(own)))

    async def put(
        self, collection_id: str, texts: Sequence[tuple[Document, Sequence[Piece]]]
    ) -> int:
        """Store documents with their pieces; how many took the place of one with the same id.

        One transaction, so that no search ever sees a document without its pieces.
        """
        ids = [document["id"] for document, _ in texts]
        own = self._own(documents, collection_id=collection_id) & documents.c.id.in_(ids)
        rows = [{"tenant_id": self._tenant, **document} for document, _ in texts]
        pieces = [
            {
                "tenant_id": self._tenant,
                "document_id": document["id"],
                "position": position,
                "collection_id": collection_id,
                "text": text,
                "embedding": embedding,
            }
            for document, parts in texts
            for position, (text, embedding) in enumerate(parts)
        ]
        # An id that is left after the delete belongs to a document of another collection.
        with explained(f"one of {ids} in another collection", f"collection {collection_id!r}"):
            async with self._database.transaction() as connection:
                # First of all: for a collection that is not there, nothing else is to be said.
                place = select(collections.c.id).where(self._own(collections, id=collection_id))
                if (await connection.execute(place)).first() is None:
                    raise NotThere(f"collection {collection_id!r} does not exist")
                replaced = (await connection.execute(delete(documents).where(own))).rowcount
                await connection.execute(insert(documents), rows)
                if pieces:
                    await connection.execute(insert(chunks), pieces)
                return replaced

    async def remove(self, collection_id: str, document_id: str) -> bool:
        own = self._own(documents, collection_id=collection_id, id=document_id)
        return bool(await self._change(delete(documents).where(own)))

    async def vector_store(self, collection_id: str) -> VectorStore:
        """Every piece of the collection, in one statement and so in one snapshot."""
        query = (
            select(chunks.c.document_id, chunks.c.text, chunks.c.embedding)
            .where(self._own(chunks, collection_id=collection_id))
            .order_by(chunks.c.document_id, chunks.c.position)
        )
        rows = await self._database.fetch(query)
        ids, texts, vectors = zip(*rows, strict=True) if rows else ((), (), ())
        return VectorStore(document_ids=ids, texts=texts, matrix=b"".join(vectors))
