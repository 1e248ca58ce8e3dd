"""Collections and their documents: create, ingest, replace, read, delete."""

from __future__ import annotations

from fastapi import APIRouter, Response

from examples.agent_service.bodies import DocumentBody, Documents, NewCollection, PathId
from examples.agent_service.records import Collection, Document
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/collections", tags=["collections"])


@router.post("", status_code=201)
async def create(tenant: Tenant, body: NewCollection) -> Collection:
    await tenant.writes.add_collection(body.id, body.name)
    return Collection(id=body.id, name=body.name, documents=0)


@router.get("/{collection_id}")
async def read(tenant: Tenant, collection_id: PathId) -> Collection:
    return await tenant.reads.collection(collection_id)


@router.delete("/{collection_id}", status_code=204)
async def delete(tenant: Tenant, collection_id: PathId) -> None:
    await tenant.writes.remove_collection(collection_id)


@router.post("/{collection_id}/documents", status_code=201)
async def ingest(tenant: Tenant, collection_id: PathId, body: Documents) -> dict[str, list[str]]:
    """Split, embed and store documents; those whose ids are known are replaced."""
    documents = [
        Document(id=new.id, collection_id=collection_id, title=new.title, text=new.text)
        for new in body.documents
    ]
    await tenant.writes.put_documents(collection_id, documents)
    return {"ids": [document["id"] for document in documents]}


@router.get("/{collection_id}/documents/{document_id}")
async def document(tenant: Tenant, collection_id: PathId, document_id: PathId) -> Document:
    return await tenant.reads.document(collection_id, document_id)


@router.put(
    "/{collection_id}/documents/{document_id}",
    responses={201: {"description": "There was none with this id; now there is."}},
)
async def replace(
    tenant: Tenant, collection_id: PathId, document_id: PathId, body: DocumentBody, http: Response
) -> Document:
    """Store a document under this id, in place of the one that has it if there is one."""
    new = Document(id=document_id, collection_id=collection_id, title=body.title, text=body.text)
    if not await tenant.writes.put_documents(collection_id, [new]):
        http.status_code = 201
    return new


@router.delete("/{collection_id}/documents/{document_id}", status_code=204)
async def remove(tenant: Tenant, collection_id: PathId, document_id: PathId) -> None:
    await tenant.writes.remove_document(collection_id, document_id)
