"""Rows of conversations, their messages, and the executions within them."""

from __future__ import annotations

from typing import cast

from sqlalchemy import delete, func, insert, select, update

from examples.agent_service.database import TenantRows
from examples.agent_service.records import Conversation, Execution, Message
from examples.agent_service.schema import conversations, executions, messages

_CONVERSATION = (conversations.c.id, conversations.c.agent_id, conversations.c.title)
_MESSAGE = (messages.c.id, messages.c.conversation_id, messages.c.role, messages.c.text)
_EXECUTION = tuple(column for column in executions.c if column.name != "tenant_id")


class ConversationRows(TenantRows):
    """Conversations of one tenant."""

    async def get(self, conversation_id: str) -> Conversation | None:
        query = select(*_CONVERSATION).where(self._own(conversations, id=conversation_id))
        return cast(Conversation | None, await self._one(query))

    async def ids_of(self, agent_id: str) -> list[str]:
        query = select(conversations.c.id).where(self._own(conversations, agent_id=agent_id))
        return [row["id"] for row in await self._all(query)]

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

    async def message(self, conversation_id: str, message_id: int) -> Message | None:
        own = self._own(messages, conversation_id=conversation_id)
        query = select(*_MESSAGE).where(own, messages.c.id == message_id)
        return cast(Message | None, await self._one(query))

    async def latest(self, conversation_id: str, count: int) -> tuple[list[Message], int]:
        """The last messages, the oldest first, and how many there are in all.

        In one statement and so in one snapshot.
        """
        total = func.count().over().label("total")
        own = self._own(messages, conversation_id=conversation_id)
        query = select(*_MESSAGE, total).where(own).order_by(messages.c.id.desc()).limit(count)
        rows = await self._all(query)
        in_all = rows[0]["total"] if rows else 0
        for row in rows:
            del row["total"]
        return cast(list[Message], rows[::-1]), in_all

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

    async def execution(
        self, agent_id: str, conversation_id: str, execution_id: str
    ) -> Execution | None:
        own = self._own(
            executions, agent_id=agent_id, conversation_id=conversation_id, id=execution_id
        )
        return cast(Execution | None, await self._one(select(*_EXECUTION).where(own)))

    async def begin(self, execution: Execution) -> None:
        row = {"tenant_id": self._tenant, **execution}
        await self._add(
            insert(executions).values(row),
            f"execution {execution['id']!r}",
            f"conversation {execution['conversation_id']!r}",
        )

    async def go_on(self, execution: Execution) -> bool:
        own = self._own(
            executions,
            agent_id=execution["agent_id"],
            conversation_id=execution["conversation_id"],
            id=execution["id"],
        )
        return bool(await self._change(update(executions).where(own).values(**execution)))
