"""Rows of conversations and their messages."""

from __future__ import annotations

from typing import cast

from sqlalchemy import delete, insert, select

from examples.agent_service.database import TenantRows
from examples.agent_service.records import Conversation, Message
from examples.agent_service.schema import conversations, messages

_CONVERSATION = (conversations.c.id, conversations.c.agent_id, conversations.c.title)
_MESSAGE = (messages.c.id, messages.c.conversation_id, messages.c.role, messages.c.text)


class ConversationRows(TenantRows):
    """Conversations of one tenant."""

    async def get(self, conversation_id: str) -> Conversation | None:
        query = select(*_CONVERSATION).where(self._own(conversations, id=conversation_id))
        return cast(Conversation | None, await self._one(query))

    async def add(self, conversation: Conversation) -> None:
        row = {"tenant_id": self._tenant, **conversation}
        await self._add(
            insert(conversations).values(row),
            f"conversation {conversation['id']!r}",
            f"agent {conversation['agent_id']!r}",
        )

    async def remove(self, conversation_id: str) -> bool:
        query = delete(conversations).where(self._own(conversations, id=conversation_id))
        return bool(await self._change(query))

    async def messages(self, conversation_id: str) -> list[Message]:
        query = select(*_MESSAGE).where(self._own(messages, conversation_id=conversation_id))
        return cast(list[Message], await self._all(query.order_by(messages.c.id)))

    async def append(self, conversation_id: str, role: str, text: str) -> Message:
        values = {
            "tenant_id": self._tenant,
            "conversation_id": conversation_id,
            "role": role,
            "text": text,
        }
        number = await self._add(
            insert(messages).values(values).returning(messages.c.id),
            "the message",
            f"conversation {conversation_id!r}",
        )
        return Message(id=number, conversation_id=conversation_id, role=role, text=text)
