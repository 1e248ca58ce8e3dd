"""Every write of the service, and what it invalidates.

One rule: first the commit, then the invalidation, and only then the answer to the client. So
whoever has heard that something was written never again reads what it was before, nor anything
that was made from it. A write ends in the cascade of what it changed; where a whole agent,
conversation or collection comes or goes, in everything that is cached of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cascada import (
    Cache,
    CacheManager,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache_cascade,
    invalidate_document_update,
)
from examples.agent_service.caching import execution_state_id
from examples.agent_service.database import Database, NotThere
from examples.agent_service.embedding import Embedder
from examples.agent_service.ingest import embed_documents
from examples.agent_service.queries.agents import AgentRows
from examples.agent_service.queries.conversations import ConversationRows
from examples.agent_service.queries.documents import DocumentRows
from examples.agent_service.records import (
    Agent,
    Conversation,
    Document,
    Execution,
    Message,
    Tool,
)


class Writes:
    """All writes of one tenant."""

    def __init__(self, cache: Cache, tenant: str, database: Database, embedder: Embedder) -> None:
        self._tenant = tenant
        self._cached = cache.tenant(tenant)
        self._agents = AgentRows(database, tenant)
        self._conversations = ConversationRows(database, tenant)
        self._documents = DocumentRows(database, tenant)
        self._embedder = embedder

    async def add_agent(self, agent: Agent) -> None:
        await self._agents.add(agent)
        await CacheManager.invalidate_agent_complete(self._tenant, agent["id"])

    async def replace_agent(self, agent: Agent) -> None:
        _changed(await self._agents.replace(agent), f"agent {agent['id']!r}")
        # Its answers and the conversations that show its name were made from its configuration.
        await invalidate_agent_cache_cascade(self._tenant, agent["id"])

    async def remove_agent(self, agent_id: str) -> None:
        _changed(await self._agents.remove(agent_id), f"agent {agent_id!r}")
        await invalidate_agent_cache_cascade(self._tenant, agent_id, invalidate_conversations=True)

    async def add_tool(self, tool: Tool) -> None:
        await self._agents.add_tool(tool)
        await invalidate_agent_cache_cascade(self._tenant, tool["agent_id"])

    async def remove_tool(self, agent_id: str, tool_id: str) -> None:
        removed = await self._agents.remove_tool(agent_id, tool_id)
        _changed(removed, f"tool {tool_id!r} of agent {agent_id!r}")
        await invalidate_agent_cache_cascade(self._tenant, agent_id)

    async def add_conversation(self, conversation: Conversation) -> None:
        await self._conversations.add(conversation)
        await self._cached.invalidate(conversation=conversation["id"])

    async def remove_conversation(self, conversation_id: str) -> None:
        removed = await self._conversations.remove(conversation_id)
        _changed(removed, f"conversation {conversation_id!r}")
        await self._cached.invalidate(conversation=conversation_id)

    async def append_message(self, conversation_id: str, role: str, text: str) -> Message:
        message = await self._conversations.append(conversation_id, role, text)
        # What was said, and the answers that were given with it; the conversation is as it was.
        await invalidate_conversation_cache_cascade(self._tenant, conversation_id)
        return message

    async def begin_execution(self, execution: Execution) -> None:
        talk = await self._conversations.get(execution["conversation_id"])
        if talk is None or talk["agent_id"] != execution["agent_id"]:
            raise NotThere(
                f"conversation {execution['conversation_id']!r} "
                f"of agent {execution['agent_id']!r} does not exist"
            )
        await self._conversations.begin(execution)
        await self._execution_changed(execution)

    async def go_on_with_execution(self, execution: Execution) -> None:
        changed = await self._conversations.go_on(execution)
        _changed(changed, f"execution {execution['id']!r}")
        await self._execution_changed(execution)

    async def _execution_changed(self, execution: Execution) -> None:
        agent, talk = execution["agent_id"], execution["conversation_id"]
        await self._cached.invalidate(
            "agent_execution_state",
            execution_state_id(agent, talk, execution["id"]),
            agent=agent,
            conversation=talk,
        )

    async def add_collection(self, collection_id: str, name: str) -> None:
        await self._documents.add_collection(collection_id, name)
        await CacheManager.invalidate_collection_complete(self._tenant, collection_id)

    async def remove_collection(self, collection_id: str) -> None:
        removed = await self._documents.remove_collection(collection_id)
        _changed(removed, f"collection {collection_id!r}")
        await CacheManager.invalidate_collection_complete(self._tenant, collection_id)

    async def put_documents(self, collection_id: str, documents: Sequence[Document]) -> int:
        """Store documents; how many of them replaced one."""
        # Embedded before the transaction: a slow endpoint holds no lock.
        embedded = await embed_documents(self._embedder, documents)
        replaced = await self._documents.put(collection_id, embedded)
        await self._documents_changed(collection_id, [document["id"] for document in documents])
        return replaced

    async def remove_document(self, collection_id: str, document_id: str) -> None:
        removed = await self._documents.remove(collection_id, document_id)
        _changed(removed, f"document {document_id!r} of collection {collection_id!r}")
        await self._documents_changed(collection_id, [document_id])

    async def _documents_changed(self, collection_id: str, document_ids: Sequence[str]) -> None:
        # Answers of the whole collection go, not only those that were made from the document: a
        # text that changed may now be the best passage for a question answered without it.
        if len(document_ids) == 1:
            await invalidate_document_update(self._tenant, document_ids[0], collection_id)
        else:
            await CacheManager.invalidate_collection_complete(self._tenant, collection_id)


def _changed(changed: bool, what: str) -> None:
    if not changed:
        raise NotThere(f"{what} does not exist")
