"""What goes when something changes: one declared table, and the names that it comes to.

A cascade is a subject ("agent", "document", ...) and the data types that depend on it. It is
carried out as ONE invalidation of all their names, so that no reader of a shared tier ever sees
half of it. The functions that start cascades name rows of this table and hold no rule of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Final

import msgspec
from msgspec.structs import force_setattr

from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.errors import BadInput
from cascada.model.keys import LABELS, NO_SCOPE, Id, Key, Scope
from cascada.model.names import resource_names, type_at
from cascada.model.policy import CONTEXT_PARTS, ContextPart


class Dependent(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one data type that depend on a subject; one row of the table.

    by_id: the argument whose id is these values' own id (in whatever context). within: the part of
    the context that they are stored in, all of them. At least one. label: what they are counted
    under (None: the data type).
    """

    data_type: str
    by_id: str | None = None
    within: ContextPart | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        for name in ("data_type", "by_id", "within", "label"):
            given = getattr(self, name)
            if given is not None or name == "data_type":
                plain = arguments.name(given, f"Dependent.{name}", "a name, such as 'agent_config'")
                force_setattr(self, name, plain)
        if self.by_id is None and self.within is None:
            raise BadInput(
                f"Dependent({self.data_type!r}) says not which values are meant; "
                'pass by_id="agent" (that id), within="agent" (all in that context), or both'
            )
        if self.within is not None and self.within not in CONTEXT_PARTS:
            raise BadInput(
                f"Dependent.within is {shown(self.within)}; pass one of {', '.join(CONTEXT_PARTS)}"
            )


class Reach(msgspec.Struct):
    """The names that a row comes to, and how to count what they reach.

    An entry may bear two of the names: those in `twice` are borne by just these, once more.
    """

    label: str
    names: list[str] = msgspec.field(default_factory=list)
    twice: list[str] = msgspec.field(default_factory=list)

    @property
    def all(self) -> Iterator[str]:
        return chain(self.names, self.twice)


BUILT_IN: Final[Mapping[str, tuple[Dependent, ...]]] = {
    "agent": (
        Dependent(data_type="agent", by_id="agent"),
        Dependent(data_type="agent_config", by_id="agent", within="agent"),
        Dependent(data_type="agent_tools", by_id="agent", within="agent"),
        Dependent(
            data_type="agent_execution_state",
            by_id="agent",
            within="agent",
            label="execution_state",
        ),
    ),
    "conversation": (
        Dependent(data_type="conversation", by_id="conversation", within="conversation"),
        Dependent(
            data_type="conversation_memory",
            by_id="conversation",
            within="conversation",
            label="memory",
        ),
        Dependent(
            data_type="conversation_messages_list",
            by_id="conversation",
            within="conversation",
            label="messages_list",
        ),
        Dependent(data_type="conversation_message", within="conversation", label="messages"),
    ),
    "document": (
        Dependent(data_type="document", by_id="document"),
        # Embeddings of chunks have ids that the document does not know, but its collection's
        # context. Those of mere texts belong to no collection: what was made of a document goes
        # with it all the same.
        Dependent(data_type="embedding", by_id="document", within="collection"),
        Dependent(data_type="vector_store", by_id="collection", within="collection"),
        Dependent(data_type="semantic_index", by_id="collection", within="collection"),
        Dependent(data_type="collection_metadata", by_id="collection", within="collection"),
        Dependent(data_type="query_result", within="collection"),
        Dependent(data_type="retrieval_cache", within="collection"),
        Dependent(data_type="agent_response", within="collection"),
    ),
}
"""The documents' cascades. What was made from any of these values goes with it, as always."""


BY_CONTEXT: Final[Mapping[str, ContextPart]] = {
    "agent_tools": "agent",
    "agent_execution_state": "agent",
    "conversation_message": "conversation",
}
"""Documented types whose ids may be their own (a tool's, a message's), so that it is the context
that they are stored in by which their cascade finds them."""


def unreached(key: Key) -> str | None:
    """What to say of a key that its cascade may not find; None if there is nothing to say."""
    part = BY_CONTEXT.get(key.data_type)
    if part is None or getattr(key, part) is not None:
        return None
    own = f" unless that id is the {part}'s own" if part == "agent" else ""
    return (
        f"is stored without {part}_id, so that a cascade of its {part} does not find it{own}; "
        f"pass {part}_id=..., or store it within({part}=...)"
    )


class Dependencies:
    """The table of one cache: the built-in rows, and those that the application declares."""

    def __init__(self, declared: Mapping[str, Sequence[Dependent]] | None = None) -> None:
        self._rows = dict(BUILT_IN)
        for subject, rows in (declared or {}).items():
            for row in rows:
                arguments.instance(
                    row, f"a row of {subject!r}", Dependent, "Dependent(data_type=..., ...)"
                )
            self._rows[subject] = (*self._rows.get(subject, ()), *rows)

    def of(self, subject: str) -> tuple[Dependent, ...]:
        """The rows of a subject; BadInput if none were declared."""
        try:
            return self._rows[subject]
        except KeyError:
            raise BadInput(
                f"nothing depends on {subject!r}; there is {', '.join(sorted(self._rows))}; "
                'pass ids by name (agent="a1"), or declare your own rows with '
                "Cache(dependencies={...})"
            ) from None


def reaches_of(
    rows: Sequence[Dependent],
    tenant: str,
    ids: Mapping[str, Id | Sequence[Id]],
    varies_by: Callable[[str], tuple[ContextPart, ...] | None],
) -> list[Reach]:
    """What the rows come to. An argument may be a list of ids: each of them is meant, once."""
    lists = {
        name: list(dict.fromkeys(arguments.ids(given, name)))
        if arguments.is_several(given)
        else [arguments.identity(given, name)]
        for name, given in ids.items()
    }
    return [_reach(row, tenant, lists, varies_by(row.data_type)) for row in dict.fromkeys(rows)]


def _reach(
    row: Dependent,
    tenant: str,
    ids: Mapping[str, list[str]],
    varies_by: tuple[ContextPart, ...] | None,
) -> Reach:
    found = Reach(row.label or row.data_type)
    for argument in (row.by_id, row.within):
        if argument is not None and argument not in ids:
            raise BadInput(
                f"the cascade reaches {row.data_type} by {argument}, which was not given; "
                f"pass {argument}=..."
            )
    resources = [] if row.by_id is None else ids[row.by_id]
    parts = [] if row.within is None else ids[row.within]
    # Where the context has no other part, its entries of an id are among those within it.
    alone = row.within is not None and varies_by == (row.within,)
    for resource in resources:
        plain, anywhere = resource_names(tenant, row.data_type, resource, NO_SCOPE)
        found.names += [plain] if alone else [plain, anywhere]
    if row.within is not None:
        label = LABELS[row.within]
        found.names += [type_at(tenant, row.data_type, label, part) for part in parts]
    if row.within is not None and not alone:
        same = row.by_id == row.within  # then an id is looked for in its own context alone
        for resource, part in (
            zip(resources, parts, strict=True) if same else product(resources, parts)
        ):
            # This id in that very context bears the name of either.
            scope = Scope(**{row.within: part})
            found.twice += resource_names(tenant, row.data_type, resource, scope)
    return found
