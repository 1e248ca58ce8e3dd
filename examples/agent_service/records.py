"""The shapes that travel: what a row becomes, what is cached and what a client receives."""

from __future__ import annotations

from dataclasses import dataclass

# pydantic, which FastAPI documents the routes with, needs this one below Python 3.12
from typing_extensions import TypedDict


class Agent(TypedDict):
    """Who answers: the configuration that an answer is made with."""

    id: str
    name: str
    instructions: str
    max_words: int


class Tool(TypedDict):
    """Something that an agent may use."""

    id: str
    agent_id: str
    name: str
    description: str


class Conversation(TypedDict):
    """A thread of messages with one agent."""

    id: str
    agent_id: str
    title: str


class ConversationView(Conversation):
    """A conversation as clients see it, with the present name of its agent."""

    agent_name: str


class Message(TypedDict):
    """One thing that was said; `id` grows in the order of the thread."""

    id: int
    conversation_id: str
    role: str
    text: str


class MemoryMetadata(TypedDict):
    """What a conversation's memory is of."""

    conversation_id: str
    agent_id: str
    messages_in_all: int


class Memory(TypedDict):
    """What an agent remembers of a conversation: its latest messages, the oldest first."""

    messages: list[Message]
    metadata: MemoryMetadata


class Execution(TypedDict):
    """How far an agent has come with a piece of work within a conversation."""

    id: str
    agent_id: str
    conversation_id: str
    status: str
    step: str
    detail: str


class Collection(TypedDict):
    """A set of documents that are searched together."""

    id: str
    name: str
    documents: int


class Document(TypedDict):
    """A text that answers may be drawn from."""

    id: str
    collection_id: str
    title: str
    text: str


class Passage(TypedDict):
    """A piece of a document that is near to a question."""

    document_id: str
    text: str
    score: float


class Response(TypedDict):
    """An answer, and the documents that it was made from."""

    answer: str
    documents: list[str]
    tokens: int


class Campaign(TypedDict):
    """Something that is advertised; `version` is of the row that it was read from."""

    id: str
    name: str
    budget: float
    version: int


class Cleared(TypedDict):
    """How many went from the cache; not `exact`: at most so many."""

    cleared: int
    exact: bool


@dataclass(frozen=True, slots=True)
class VectorStore:
    """All pieces of a collection in one snapshot: row i of `matrix` (float32) embeds `texts[i]`.

    The texts stand next to the vectors so that a search never pairs the ranking of one state of
    the collection with the texts of another.
    """

    document_ids: tuple[str, ...]
    texts: tuple[str, ...]
    matrix: bytes
