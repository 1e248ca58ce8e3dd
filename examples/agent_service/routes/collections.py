"""Collections and their documents: create, ingest, replace, read, delete."""

from __future__ import annotations

from fastapi import APIRouter, Response

from examples.agent_service.bodies import (
    CollectionId,
    DocumentBody,
    DocumentId,
    Documents,
    NewCollection,
)
from examples.agent_service.records import Collection, Document
from examples.agent_service.routes.answers import (
    CACHED,
    NO_EMBEDDING,
    NOT_THERE,
    TAKEN,
)
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/collections")


@router.post(
    "", status_code=201, tags=["collections"], summary="Create a collection", responses=TAKEN
)
async def create(tenant: Tenant, body: NewCollection) -> Collection:
    await tenant.writes.add_collection(body.id, body.name)
    return Collection(id=body.id, name=body.name, documents=0)


@router.get(
    "/{collection_id}",
    tags=["collections"],
    summary="A collection, and how many documents it holds",
    responses={**CACHED, **NOT_THERE},
)
async def read(tenant: Tenant, collection_id: CollectionId) -> Collection:
    return await tenant.told(await tenant.reads.collection(collection_id))


@router.delete(
    "/{collection_id}",
    status_code=204,
    tags=["collections"],
    summary="Delete a collection",
    responses=NOT_THERE,
)
async def delete(tenant: Tenant, collection_id: CollectionId) -> None:
    """Its documents go with it."""
    await tenant.writes.remove_collection(collection_id)


documents = APIRouter(
    prefix="/collections/{collection_id}/documents", tags=["documents"], responses=NOT_THERE
)


@documents.post("", status_code=201, summary="Store documents", responses={**TAKEN, **NO_EMBEDDING})
async def ingest(
    tenant: Tenant, collection_id: CollectionId, body: Documents
) -> dict[str, list[str]]:
    """Split, embed and store documents; those whose ids are known in the collection are replaced.

    When it returns, no answer that was made from the collection's old state is given again.
    """
    documents = [
        Document(id=new.id, collection_id=collection_id, title=new.title, text=new.text)
        for new in body.documents
    ]
    await tenant.writes.put_documents(collection_id, documents)
    return {"ids": [document["id"] for document in documents]}


@documents.get("/{document_id}", summary="A document", responses=CACHED)
async def document(
    tenant: Tenant, collection_id: CollectionId, document_id: DocumentId
) -> Document:
    return await tenant.told(await tenant.reads.document(collection_id, document_id))


@documents.put(
    "/{document_id}",
    summary="Store a document under this id",
    responses={
        201: {"model": Document, "description": "There was none with this id; now there is."},
        **TAKEN,
        **NO_EMBEDDING,
    },
)
async def replace(
    tenant: Tenant,
    collection_id: CollectionId,
    document_id: DocumentId,
    body: DocumentBody,
    http: Response,
) -> Document:
    """In place of the one that has it, if there is one."""
    new = Document(id=document_id, collection_id=collection_id, title=body.title, text=body.text)
    if not await tenant.writes.put_documents(collection_id, [new]):
        http.status_code = 201
    return new


@documents.delete("/{document_id}", status_code=204, summary="Delete a document")
async def remove(tenant: Tenant, collection_id: CollectionId, document_id: DocumentId) -> None:
    await tenant.writes.remove_document(collection_id, document_id)
