"""What the service caches, with which policy, and what each value is made from.

Every read goes through here. A value that is made from others reads them through the cache inside
its loader, so they become its sources by themselves: an answer is made from its agent, the agent's
tools, the conversation and the passages; the passages from the question's embedding and the
collection's vectors. What a write must invalidate stands in writes.py.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from cascada import (
    TTL_SHORT,
    TTL_STANDARD,
    Cache,
    Cost,
    Hit,
    Loaded,
    Policy,
    generate_resource_id_hash,
)
from examples.agent_service.answering import LocalStandIn, Prompt
from examples.agent_service.database import Database, NotThere
from examples.agent_service.embedding import Embedder
from examples.agent_service.queries.agents import AgentRows
from examples.agent_service.queries.conversations import ConversationRows
from examples.agent_service.queries.documents import DocumentRows
from examples.agent_service.records import (
    Agent,
    Collection,
    ConversationView,
    Document,
    Execution,
    Memory,
    MemoryMetadata,
    Message,
    Passage,
    Response,
    Tool,
    VectorStore,
)
from examples.agent_service.vectors import nearest

T = TypeVar("T")

PASSAGES: Final = 4
"""How many passages an answer is made from."""

REMEMBERED: Final = 20
"""How many messages of a conversation its memory holds."""

# The time to live and the context of these types are documented and built in; here stands what
# this service wants besides.
_POLICIES: Final = {
    "collection_metadata": Policy(varies_by=("collection",)),
    "document": Policy(ttl=TTL_STANDARD, varies_by=("collection",)),
    # One agent's work in one conversation: nothing more general answers for it.
    "agent_execution_state": Policy(lookup="exact"),
    # Dear to make and never wrong.
    "embedding": Policy(varies_by=()),
    # Large and read by every search: all of them get the one object, which is immutable.
    "vector_store": Policy(type=VectorStore, shared=True),
    "query_result": Policy(stale_for=60),
    # What was answered outside a conversation is no answer within one.
    "agent_response": Policy(stale_for=60, stale_if_error=3600, lookup="exact"),
    # Responses of routes, whole (routes/kept.py); what they were made from ends them.
    **dict.fromkeys(("messages_page", "tools_page"), Policy(ttl=TTL_STANDARD)),
}

_KB: Final = 1024
LARGEST: Final = {
    "agent_config": 64 * _KB,
    "agent_tools": 64 * _KB,
    "agent_execution_state": 64 * _KB,
    "conversation": 16 * _KB,
    "conversation_memory": 256 * _KB,
    "conversation_message": 64 * _KB,
    "conversation_messages_list": 1024 * _KB,
    "collection_metadata": 16 * _KB,
    "document": 256 * _KB,
    "embedding": 64 * _KB,
    "vector_store": 16 * 1024 * _KB,
    "query_result": 64 * _KB,
    "agent_response": 64 * _KB,
    "messages_page": 1024 * _KB,
    "tools_page": 64 * _KB,
}
"""Stored bytes over which a value is warned of and kept for five minutes at most: of so many such
values memory would hold few others."""

POLICIES: Final = {
    data_type: Policy(
        **{**_POLICIES.get(data_type, Policy()).said, "bulky_bytes": size, "bulky_ttl": TTL_SHORT}
    )
    for data_type, size in LARGEST.items()
}


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """A value, and how it was come by. `ms`: what it took, loads that it waited for included."""

    value: T
    hit: Hit[T]
    data_type: str
    agent: str | None
    ms: float


class CachedReads:
    """All reads of one tenant. Each says where its value came from."""

    def __init__(
        self,
        cache: Cache,
        tenant: str,
        database: Database,
        embedder: Embedder,
        model: LocalStandIn,
    ) -> None:
        self._cache = cache
        self._tenant = tenant
        self._agents = AgentRows(database, tenant)
        self._conversations = ConversationRows(database, tenant)
        self._documents = DocumentRows(database, tenant)
        self._embedder = embedder
        self._model = model

    async def agent(self, agent_id: str) -> Served[Agent]:
        return await self._load(
            "agent_config",
            agent_id,
            partial(self._agents.get, agent_id),
            what=f"agent {agent_id!r}",
            agent=agent_id,
        )

    async def tools(self, agent_id: str) -> Served[list[Tool]]:
        return await self._load(
            "agent_tools",
            agent_id,
            partial(self._agents.tools, agent_id),
            what=f"agent {agent_id!r}",
            agent=agent_id,
        )

    async def conversation(self, conversation_id: str) -> Served[ConversationView]:
        async def view() -> ConversationView | None:
            row = await self._conversations.get(conversation_id)
            if row is None:
                return None
            return {**row, "agent_name": (await self.agent(row["agent_id"])).value["name"]}

        return await self._load(
            "conversation",
            conversation_id,
            view,
            what=f"conversation {conversation_id!r}",
            conversation=conversation_id,
        )

    # What is of a conversation is read below it: it goes when the conversation goes.

    async def messages(self, conversation_id: str) -> Served[list[Message]]:
        async def of_conversation() -> list[Message]:
            await self.conversation(conversation_id)
            return await self._conversations.messages(conversation_id)

        return await self._load(
            "conversation_messages_list",
            conversation_id,
            of_conversation,
            conversation=conversation_id,
        )

    async def message(self, conversation_id: str, message_id: int) -> Served[Message]:
        async def of_conversation() -> Message | None:
            await self.conversation(conversation_id)
            return await self._conversations.message(conversation_id, message_id)

        return await self._load(
            "conversation_message",
            str(message_id),
            of_conversation,
            what=f"message {message_id} of conversation {conversation_id!r}",
            conversation=conversation_id,
        )

    async def memory(self, conversation_id: str) -> Served[Memory]:
        """What the agent remembers. It is only ever made from the rows, never added to: whoever
        appends invalidates it, so that of two who append at once neither is forgotten."""

        async def of_conversation() -> Memory:
            conversation = (await self.conversation(conversation_id)).value
            latest, in_all = await self._conversations.latest(conversation_id, REMEMBERED)
            metadata = MemoryMetadata(
                conversation_id=conversation_id,
                agent_id=conversation["agent_id"],
                messages_in_all=in_all,
            )
            return Memory(messages=latest, metadata=metadata)

        return await self._load(
            "conversation_memory",
            conversation_id,
            of_conversation,
            conversation=conversation_id,
        )

    async def execution(
        self, agent_id: str, conversation_id: str, execution_id: str
    ) -> Served[Execution]:
        return await self._load(
            "agent_execution_state",
            execution_state_id(agent_id, conversation_id, execution_id),
            partial(self._conversations.execution, agent_id, conversation_id, execution_id),
            what=f"execution {execution_id!r}",
            agent=agent_id,
            conversation=conversation_id,
        )

    async def collection(self, collection_id: str) -> Served[Collection]:
        return await self._load(
            "collection_metadata",
            collection_id,
            partial(self._documents.collection, collection_id),
            what=f"collection {collection_id!r}",
            collection=collection_id,
        )

    async def document(self, collection_id: str, document_id: str) -> Served[Document]:
        return await self._load(
            "document",
            document_id,
            partial(self._documents.get, collection_id, document_id),
            what=f"document {document_id!r} of collection {collection_id!r}",
            collection=collection_id,
        )

    async def passages(self, collection_id: str, question: str) -> Served[list[Passage]]:
        async def retrieve() -> list[Passage]:
            await self.collection(collection_id)  # one that is not there holds no passages
            store = (await self._vector_store(collection_id)).value
            vector = (await self._embedding(question)).value
            return [
                Passage(document_id=store.document_ids[row], text=store.texts[row], score=score)
                for row, score in nearest(store.matrix, vector, PASSAGES)
            ]

        identity = generate_resource_id_hash(question, PASSAGES, self._embedder.name)
        return await self._load("query_result", identity, retrieve, collection=collection_id)

    async def response(
        self, agent_id: str, collection_id: str, question: str, conversation_id: str | None
    ) -> Served[Response]:
        tenant = self._cache.tenant(self._tenant)

        async def answer() -> Loaded[Response]:
            agent, tools = (await self.agent(agent_id)).value, (await self.tools(agent_id)).value
            history: list[Message] = []
            if conversation_id is not None:
                history = (await self.memory(conversation_id)).value["messages"]
            passages = (await self.passages(collection_id, question)).value
            said = await self._model.answer(Prompt(agent, tools, history, passages, question))
            documents = list(dict.fromkeys(passage["document_id"] for passage in passages))
            return Loaded(
                Response(answer=said.text, documents=documents, tokens=said.tokens),
                sources=[tenant.key("document", document_id) for document_id in documents],
                cost=Cost(
                    model=self._model.name, tokens_in=said.tokens_in, tokens_out=said.tokens_out
                ),
            )

        return await self._load(
            "agent_response",
            generate_resource_id_hash(question),
            answer,
            agent=agent_id,
            conversation=conversation_id,
            collection=collection_id,
        )

    async def _vector_store(self, collection_id: str) -> Served[VectorStore]:
        return await self._load(
            "vector_store",
            collection_id,
            partial(self._documents.vector_store, collection_id),
            collection=collection_id,
        )

    async def _embedding(self, question: str) -> Served[list[float]]:
        async def embed() -> list[float]:
            return (await self._embedder.embed([question]))[0]

        identity = generate_resource_id_hash(question, self._embedder.name)
        return await self._load("embedding", identity, embed)

    async def _load(
        self,
        data_type: str,
        resource_id: str,
        loader: Callable[[], Awaitable[T | Loaded[T] | None]],
        what: str = "it",
        **context: str | None,
    ) -> Served[T]:
        """Load within a context; NotThere, naming `what`, if there is nothing."""
        handle = self._cache.tenant(self._tenant, **context)
        begun = time.perf_counter()
        hit = await handle.load(data_type, resource_id, loader)
        spent = (time.perf_counter() - begun) * 1000
        if not isinstance(hit, Hit) or hit.value is None:
            raise NotThere(f"{what} does not exist")
        return Served(hit.value, hit, data_type, handle.scope.agent, spent)


def execution_state_id(agent_id: str, conversation_id: str, execution_id: str) -> str:
    """The id that an execution's state is cached under: of all three, and of no other three."""
    return generate_resource_id_hash(agent_id, conversation_id, execution_id)
