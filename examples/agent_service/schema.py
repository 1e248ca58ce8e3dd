"""The tables. Every row has a tenant, which is part of every key, so that no row can refer to
another tenant's: two tenants may use the same ids and never meet.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()


def _tenant() -> Column[str]:
    return Column("tenant_id", String, primary_key=True)


def _id() -> Column[str]:
    return Column("id", String, primary_key=True)


def _belongs_to(table: str, column: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"], ondelete="CASCADE"
    )


agents = Table(
    "agents",
    metadata,
    _tenant(),
    _id(),
    Column("name", Text, nullable=False),
    Column("instructions", Text, nullable=False),
    Column("max_words", Integer, nullable=False),
)

tools = Table(
    "tools",
    metadata,
    _tenant(),
    _id(),
    Column("agent_id", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    _belongs_to("agents", "agent_id"),
    Index("tools_of_agent", "tenant_id", "agent_id"),
)

conversations = Table(
    "conversations",
    metadata,
    _tenant(),
    _id(),
    Column("agent_id", String, nullable=False),
    Column("title", Text, nullable=False),
    _belongs_to("agents", "agent_id"),
)

messages = Table(
    "messages",
    metadata,
    # The database numbers messages, so that appending never reads what is there: two processes
    # that append to one conversation lose nothing.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("conversation_id", String, nullable=False),
    Column("role", String, nullable=False),
    Column("text", Text, nullable=False),
    _belongs_to("conversations", "conversation_id"),
    Index("messages_of_conversation", "tenant_id", "conversation_id", "id"),
)

executions = Table(
    "executions",
    metadata,
    _tenant(),
    Column("agent_id", String, primary_key=True),
    Column("conversation_id", String, primary_key=True),
    _id(),
    Column("status", String, nullable=False),
    Column("step", Text, nullable=False),
    Column("detail", Text, nullable=False),
    _belongs_to("agents", "agent_id"),
    _belongs_to("conversations", "conversation_id"),
    Index("executions_of_conversation", "tenant_id", "conversation_id"),
)

collections = Table("collections", metadata, _tenant(), _id(), Column("name", Text, nullable=False))

documents = Table(
    "documents",
    metadata,
    _tenant(),
    _id(),
    Column("collection_id", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    _belongs_to("collections", "collection_id"),
    Index("documents_of_collection", "tenant_id", "collection_id"),
)

chunks = Table(
    "chunks",
    metadata,
    _tenant(),
    Column("document_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("collection_id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("embedding", LargeBinary, nullable=False),  # float32, little endian
    _belongs_to("documents", "document_id"),
    Index("chunks_of_collection", "tenant_id", "collection_id"),
)

campaigns = Table(
    "campaigns",
    metadata,
    _tenant(),
    _id(),
    Column("name", Text, nullable=False),
    Column("budget", Double, nullable=False),
    # Whoever writes the row raises it, as the sync does (campaigns.py).
    Column("version", Integer, nullable=False),
)
