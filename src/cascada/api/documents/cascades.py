"""The documents' cascades: what goes with an agent, a conversation or a document, as one step.

Their arguments, their counts and their metrics are here. What depends on what is one table
(`model/dependencies.py`), and carrying it out is one invalidation (`Tenant.cascade`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from cascada.api.context import Context
from cascada.api.default import default_cache
from cascada.api.documents.callbacks import with_accepted
from cascada.api.documents.constants import (
    METRIC_CACHE_INVALIDATION,
    METRIC_CACHE_INVALIDATION_COORDINATED,
    METRIC_CACHE_INVALIDATION_FAILED,
    METRIC_LATENCY,
)
from cascada.api.tenant.handle import Tenant
from cascada.engine.loading.loaders import call
from cascada.model.dependencies import Reach
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.errors import BadInput
from cascada.model.keys import Id, scope_of
from cascada.model.names import part_names
from cascada.model.policy import ContextPart

ConversationResolver = Callable[..., Any]
"""`(tenant_id, agent_id)` to the ids of the agent's conversations; async or plain."""

_resolver: ConversationResolver | None = None


def register_conversation_resolver(resolver: ConversationResolver | None) -> None:
    """Say who knows the conversations of an agent, for cascades that take them along.

    It is called with `tenant_id` and `agent_id` and returns ids. Without one, all that was cached
    in the context of the agent's conversations goes; what was cached without naming the agent
    stays. None takes it back.
    """
    global _resolver
    if resolver is not None:
        arguments.function(resolver, "resolver", "a function of tenant_id and agent_id")
    _resolver = resolver


async def invalidate_agent_cache_cascade(
    tenant_id: Id,
    agent_id: Id,
    invalidate_conversations: bool = False,
    ctx: Context | None = None,
    *,
    dry_run: bool = False,
) -> dict[str, int]:
    """Void an agent's configuration, tools and execution state, and what was made from them.

    With `invalidate_conversations`, its conversations' memory, lists and messages as well. Returns
    how many entries went (at most) as `agent, agent_config, agent_tools, execution_state`, the
    number of `conversations`, and their `messages`. If the resolver of the conversations fails,
    its error is raised once all that is known without it has gone.
    """
    tenant, agent_id = _tenant_of(tenant_id, ctx), arguments.identity(agent_id, "agent_id")
    invalidate_conversations = arguments.flag(invalidate_conversations, "invalidate_conversations")
    dry_run = arguments.flag(dry_run, "dry_run")
    table = tenant._engine.dependencies
    with _Measured(tenant, "agent_cascade", {"agent_id": agent_id}) as measure:
        of_agent = table.of("agent")
        rows = list(of_agent)
        ids: dict[str, list[Id]] = {"agent": [agent_id]}
        failure: BaseException | None = None
        if invalidate_conversations:
            try:
                ids["conversation"] = await _conversations(tenant, agent_id)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - raised below
                # What is known goes all the same: the agent has changed already.
                failure = error
                ids["conversation"] = []
            # And those whose ids are not known, by their agent.
            rows += table.of("conversation")
            rows += [
                replace(
                    row, by_id=None, within="agent", label=_AT_AGENT + (row.label or row.data_type)
                )
                for row in table.of("conversation")
            ]
        done = await tenant._void(tenant._reaches(rows, ids), dry_run=dry_run)
        if failure is not None:
            raise failure
        counts = done.counts
        result = {
            label: counts[label] for label in (row.label or row.data_type for row in of_agent)
        }
        resolved = len(ids.get("conversation", ()))
        result["conversations"] = max(resolved, counts.get(_AT_AGENT + "memory", 0))
        result["messages"] = max(counts.get("messages", 0), counts.get(_AT_AGENT + "messages", 0))
        if not dry_run:
            measure(METRIC_CACHE_INVALIDATION_COORDINATED, sum(result.values()), result)
    return result


async def invalidate_conversation_cache_cascade(
    tenant_id: Id, conversation_id: Id, agent_id: Id | None = None, *, dry_run: bool = False
) -> dict[str, int]:
    """Void a conversation, its memory, its list of messages and its messages.

    Returns how many entries went (at most) as `memory, messages_list, messages`. `agent_id` is for
    the metric; whoever else the conversation was cached for, it goes.
    """
    tenant, dry_run = _tenant_of(tenant_id), arguments.flag(dry_run, "dry_run")
    conversation_id = arguments.identity(conversation_id, "conversation_id")
    agent_id = None if agent_id is None else arguments.identity(agent_id, "agent_id")
    known = {"conversation_id": conversation_id, "agent_id": agent_id}
    with _Measured(tenant, "conversation", known) as measure:
        done = await tenant.cascade("conversation", conversation=conversation_id, dry_run=dry_run)
        result = {label: count for label, count in done.counts.items() if label != "conversation"}
        if not dry_run:
            measure(METRIC_CACHE_INVALIDATION, sum(result.values()), result)
    return result


async def invalidate_conversation_cache(
    tenant_id: Id, conversation_id: Id, agent_id: Id | None = None, *, dry_run: bool = False
) -> int:
    """`invalidate_conversation_cache_cascade`, as one number."""
    counts = await invalidate_conversation_cache_cascade(
        tenant_id, conversation_id, agent_id, dry_run=dry_run
    )
    return sum(counts.values())


async def invalidate_document_update(
    tenant_id: Id, document_id: Id, collection_id: Id, *, dry_run: bool = False
) -> dict[str, int]:
    """Void a document, what its collection is searched and described by, and all answers from it.

    That is the document, embeddings of it and all that are cached in the collection's context (its
    chunks'), the collection's vector store, semantic index and metadata, the collection's query and
    retrieval results, and everything that was made from any of these (`made`), in whatever
    collection. Embeddings by their text alone belong to no collection, and stay. Returns how many
    entries went, at most.
    """
    tenant, dry_run = _tenant_of(tenant_id), arguments.flag(dry_run, "dry_run")
    document_id = arguments.identity(document_id, "document_id")
    collection_id = arguments.identity(collection_id, "collection_id")
    known = {"document_id": document_id, "collection_id": collection_id}
    with _Measured(tenant, "document_cascade", known) as measure:
        done = await tenant.cascade(
            "document", document=document_id, collection=collection_id, dry_run=dry_run
        )
        result = {**done.counts, "made": done.made}
        if not dry_run:
            measure(METRIC_CACHE_INVALIDATION_COORDINATED, sum(result.values()), result)
    return result


async def invalidate_complete(tenant_id: Id, subject: str, part: ContextPart, given: Id) -> int:
    """Void everything that is cached of an agent or a collection: by its id and in its context."""
    tenant = _tenant_of(tenant_id)
    value = arguments.identity(given, f"{part}_id")
    rows = [
        replace(row, within=part)
        for row in tenant._engine.dependencies.of(subject)
        if row.by_id == part
    ]
    # Those within it bear the name of the part as well, which reaches all types.
    whole = Reach(part, part_names(tenant.tenant, scope_of(**{part: value})))
    for each in tenant._reaches(rows, {part: value}):
        whole.names += [name for name in each.names if not name.startswith("q:")]
        whole.twice += each.twice
    with _Measured(tenant, f"{part}_complete", {f"{part}_id": value}) as measure:
        done = await tenant._void([whole])
        measure(METRIC_CACHE_INVALIDATION_COORDINATED, done.keys, done.counts)
    return done.keys


_AT_AGENT = "at the agent: "


async def _conversations(tenant: Tenant, agent_id: Id) -> list[Id]:
    if _resolver is None:
        return []
    given = {"tenant_id": tenant.tenant, "agent_id": agent_id}
    found = await call(with_accepted(_resolver, given))
    if not arguments.is_several(found):
        raise BadInput(f"the conversation resolver returned {shown(found)}; return a list of ids")
    return list(dict.fromkeys(arguments.ids(found, "what the conversation resolver returned")))


def _tenant_of(tenant_id: Id, ctx: Context | None = None) -> Tenant:
    tenant = default_cache().tenant(tenant_id)
    if ctx is not None:
        arguments.instance(ctx, "ctx", Context, "a Context").must_be_of(tenant.tenant)
    return tenant


class _Measured:
    """Track what a cascade did, how long it took, and whether it failed.

    A class, as all is that other people's errors pass through: contextlib sets their
    `__traceback__`, and an error that is a frozen dataclass would become another one.
    """

    def __init__(self, tenant: Tenant, data_type: str, known: Mapping[str, Any]) -> None:
        self._engine = tenant._engine
        self._of = data_type, tenant.tenant
        self._said = {name: value for name, value in known.items() if value is not None}

    def __enter__(self) -> Callable[[str, float, Mapping[str, Any]], None]:
        self._started = self._engine.clock.monotonic()
        return self._measure

    def _measure(self, metric: str, value: float, metadata: Mapping[str, Any]) -> None:
        trace = self._engine.trace
        spent = self._engine.clock.monotonic() - self._started
        trace.track(metric, *self._of, value, {**self._said, **metadata})
        trace.track(METRIC_LATENCY, *self._of, spent * 1000, self._said)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._engine.trace.track(METRIC_CACHE_INVALIDATION_FAILED, *self._of, 1, self._said)
