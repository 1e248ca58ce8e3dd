"""What clients may send: the bodies and ids of requests, checked before anything else runs."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import uuid4

from fastapi import Path
from pydantic import BaseModel, Field, StringConstraints

# PostgreSQL's texts cannot hold NUL, so nobody's may: the databases behave alike.
_NO_NUL = r"^[^\x00]*$"
_IN_A_PATH = r"^[^\x00/]*$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_IN_A_PATH)]
PathId = Annotated[str, Path(min_length=1, max_length=200, pattern=_IN_A_PATH)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=_NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=200_000, pattern=_NO_NUL)]


def new_id() -> str:
    return uuid4().hex


class AgentBody(BaseModel):
    """An agent's configuration."""

    name: Line
    instructions: Text
    max_words: int = Field(default=120, ge=1, le=1_000)


class NewAgent(AgentBody):
    """An agent to create; without an id it gets one."""

    id: Id = Field(default_factory=new_id)


class NewTool(BaseModel):
    """A tool to give to an agent."""

    id: Id = Field(default_factory=new_id)
    name: Line
    description: Text


class NewConversation(BaseModel):
    """A conversation to begin."""

    id: Id = Field(default_factory=new_id)
    agent_id: Id
    title: Line


class NewMessage(BaseModel):
    """Something said in a conversation."""

    role: Literal["user", "assistant", "system"] = "user"
    text: Text


class NewCollection(BaseModel):
    """A collection to create."""

    id: Id = Field(default_factory=new_id)
    name: Line


class DocumentBody(BaseModel):
    """A document's title and text."""

    title: Line
    text: Text


class NewDocument(DocumentBody):
    """A document to store, in place of the one with this id if there is one."""

    id: Id = Field(default_factory=new_id)


class Documents(BaseModel):
    """Documents to store at once."""

    documents: list[NewDocument] = Field(min_length=1, max_length=500)


class Question(BaseModel):
    """A question to an agent about a collection, perhaps within a conversation."""

    collection_id: Id
    question: Line
    conversation_id: Id | None = None
