"""Conversations: begin, read, delete, append a message, and read what was said."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import ConversationId, MessageId, NewConversation, NewMessage
from examples.agent_service.records import Conversation, ConversationView, Memory, Message
from examples.agent_service.routes.answers import CACHED, NOT_THERE, TAKEN, UNCHANGED
from examples.agent_service.routes.kept import kept
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/conversations", tags=["conversations"], responses=NOT_THERE)


@router.post("", status_code=201, summary="Begin a conversation", responses=TAKEN)
async def create(tenant: Tenant, body: NewConversation) -> Conversation:
    conversation = Conversation(id=body.id, agent_id=body.agent_id, title=body.title)
    await tenant.writes.add_conversation(conversation)
    return conversation


@router.get(
    "/{conversation_id}", summary="A conversation, with its agent's present name", responses=CACHED
)
async def read(tenant: Tenant, conversation_id: ConversationId) -> ConversationView:
    return await tenant.told(await tenant.reads.conversation(conversation_id))


@router.delete("/{conversation_id}", status_code=204, summary="Delete a conversation")
async def delete(tenant: Tenant, conversation_id: ConversationId) -> None:
    """Its messages and executions go with it."""
    await tenant.writes.remove_conversation(conversation_id)


@router.post("/{conversation_id}/messages", status_code=201, summary="Say something")
async def append(tenant: Tenant, conversation_id: ConversationId, body: NewMessage) -> Message:
    """Messages are only ever added: of any number that come at once, none is lost."""
    return await tenant.writes.append_message(conversation_id, body.role, body.text)


@router.get(
    "/{conversation_id}/messages",
    summary="All that was said",
    responses={**CACHED, **UNCHANGED},
)
@kept("messages_page", "conversation_messages_list")
async def messages(tenant: Tenant, conversation_id: ConversationId) -> list[Message]:
    return await tenant.told(await tenant.reads.messages(conversation_id))


@router.get("/{conversation_id}/messages/{message_id}", summary="One message", responses=CACHED)
async def message(
    tenant: Tenant, conversation_id: ConversationId, message_id: MessageId
) -> Message:
    return await tenant.told(await tenant.reads.message(conversation_id, message_id))


@router.get("/{conversation_id}/memory", summary="What the agent remembers", responses=CACHED)
async def memory(tenant: Tenant, conversation_id: ConversationId) -> Memory:
    """The latest messages, the oldest first: what an answer in the conversation is made with."""
    return await tenant.told(await tenant.reads.memory(conversation_id))
