"""Conversations: begin, read, delete, append a message, list the messages."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import NewConversation, NewMessage, PathId
from examples.agent_service.records import Conversation, ConversationView, Message
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/conversations", tags=["conversations"])


@router.post("", status_code=201)
async def create(tenant: Tenant, body: NewConversation) -> Conversation:
    conversation = Conversation(id=body.id, agent_id=body.agent_id, title=body.title)
    await tenant.writes.add_conversation(conversation)
    return conversation


@router.get("/{conversation_id}")
async def read(tenant: Tenant, conversation_id: PathId) -> ConversationView:
    return await tenant.reads.conversation(conversation_id)


@router.delete("/{conversation_id}", status_code=204)
async def delete(tenant: Tenant, conversation_id: PathId) -> None:
    await tenant.writes.remove_conversation(conversation_id)


@router.post("/{conversation_id}/messages", status_code=201)
async def append(tenant: Tenant, conversation_id: PathId, body: NewMessage) -> Message:
    return await tenant.writes.append_message(conversation_id, body.role, body.text)


@router.get("/{conversation_id}/messages")
async def messages(tenant: Tenant, conversation_id: PathId) -> list[Message]:
    return await tenant.reads.messages(conversation_id)
