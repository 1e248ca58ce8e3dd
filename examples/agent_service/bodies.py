"""What clients may send: the bodies and ids of requests, checked before anything else runs.

The examples are what /docs proposes to try.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import uuid4

from fastapi import Path
from pydantic import BaseModel, Field, StringConstraints

# PostgreSQL's texts cannot hold NUL, so nobody's may: the databases behave alike.
_NO_NUL = r"^[^\x00]*$"
_IN_A_PATH = r"^[^\x00/]*$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_IN_A_PATH)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=_NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=200_000, pattern=_NO_NUL)]


def _in_a_path(example: str) -> object:
    return Path(min_length=1, max_length=200, pattern=_IN_A_PATH, examples=[example])


AgentId = Annotated[str, _in_a_path("librarian")]
ToolId = Annotated[str, _in_a_path("search")]
ConversationId = Annotated[str, _in_a_path("monday")]
ExecutionId = Annotated[str, _in_a_path("run-1")]
CollectionId = Annotated[str, _in_a_path("birds")]
DocumentId = Annotated[str, _in_a_path("cranes")]
CampaignId = Annotated[str, _in_a_path("spring")]
MessageId = Annotated[int, Path(ge=1, lt=2**63, examples=[1])]


def new_id() -> str:
    return uuid4().hex


class AgentBody(BaseModel):
    """An agent's configuration."""

    name: Line = Field(examples=["Librarian"])
    instructions: Text = Field(examples=["Answer from the passages, and say where they stand."])
    max_words: int = Field(default=120, ge=1, le=1_000)


class NewAgent(AgentBody):
    """An agent to create; without an id it gets one."""

    id: Id = Field(default_factory=new_id, examples=["librarian"])


class NewTool(BaseModel):
    """A tool to give to an agent."""

    id: Id = Field(default_factory=new_id, examples=["search"])
    name: Line = Field(examples=["search"])
    description: Text = Field(examples=["Searches the documents."])


class NewConversation(BaseModel):
    """A conversation to begin."""

    id: Id = Field(default_factory=new_id, examples=["monday"])
    agent_id: Id = Field(examples=["librarian"])
    title: Line = Field(examples=["Birds of passage"])


class NewMessage(BaseModel):
    """Something said in a conversation."""

    role: Literal["user", "assistant", "system"] = "user"
    text: Text = Field(examples=["I live in Oslo."])


class ExecutionBody(BaseModel):
    """How far a piece of work has come."""

    status: Literal["running", "done", "failed"] = "running"
    step: Line = Field(examples=["searching"])
    detail: Text = Field(default="", examples=["3 of 4 passages read"])


class NewExecution(ExecutionBody):
    """A piece of work that begins."""

    id: Id = Field(default_factory=new_id, examples=["run-1"])


class NewCollection(BaseModel):
    """A collection to create."""

    id: Id = Field(default_factory=new_id, examples=["birds"])
    name: Line = Field(examples=["Birds"])


class DocumentBody(BaseModel):
    """A document's title and text."""

    title: Line = Field(examples=["Cranes"])
    text: Text = Field(examples=["Cranes migrate in autumn. They fly by day and rest by night."])


class NewDocument(DocumentBody):
    """A document to store, in place of the one with this id if there is one."""

    id: Id = Field(default_factory=new_id, examples=["cranes"])


class Documents(BaseModel):
    """Documents to store at once."""

    documents: list[NewDocument] = Field(min_length=1, max_length=500)


class CampaignBody(BaseModel):
    """A campaign's fields."""

    name: Line = Field(examples=["Spring"])
    budget: float = Field(strict=True, ge=0, le=1e12, allow_inf_nan=False, examples=[2500.0])


class NewCampaign(CampaignBody):
    """A campaign to create; without an id it gets one."""

    id: Id = Field(default_factory=new_id, examples=["spring"])


class Question(BaseModel):
    """A question to an agent about a collection, perhaps within a conversation."""

    collection_id: Id = Field(examples=["birds"])
    question: Line = Field(examples=["When do cranes migrate?"])
    conversation_id: Id | None = Field(default=None, examples=[None])
