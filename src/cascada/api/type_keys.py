"""What a tenant handle works out of its arguments: once for a data type, or to invalidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cascada.engine.kinds import Kind
from cascada.engine.request import Request
from cascada.model import arguments
from cascada.model.errors import BadInput
from cascada.model.keys import Id, Key, Scope, id_text
from cascada.model.names import all_of_type, context_names, part_names, resource_names
from cascada.model.policy import candidates
from cascada.model.shown import shown

_key: Final = tuple.__new__
"""A Key without its constructor, which is a Python function: thrice as fast."""


class TypeKeys:
    """What a handle knows of one data type: the key's fixed part, and the names left out of it."""

    __slots__ = ("_only", "by_level", "context", "kind", "prefix", "prefixes", "scope")

    def __init__(self, kind: Kind, tenant: str, data_type: str, scope: Scope) -> None:
        varies_by = kind.policy.varies_by
        self.kind = kind
        self.scope = scope if varies_by is None else scope.only(varies_by)
        self.prefix = (tenant, data_type, *self.scope)
        self.prefixes = tuple(
            key[:-1] for key in candidates(kind.policy, tenant, data_type, scope, "id")
        )
        self._only = self.prefixes[0] if len(self.prefixes) == 1 else None
        self.by_level = kind.policy.lookup == "strict" and len(self.prefixes) > 1
        left_out = Scope(
            *(None if kept else part for part, kept in zip(scope, self.scope, strict=True))
        )
        self.context = tuple(context_names(tenant, data_type, left_out))

    def requests(self, ids: Sequence[str], want: Any = None) -> list[Request]:
        """One for each canonical id; there may be thousands."""
        kind, context, keys = self.kind, self.context, self.keys
        return [Request(kind, keys(last), context, want) for last in ids]

    def keys(self, last: str) -> tuple[Key, ...]:
        """The candidates for one id, the most specific one first."""
        if self._only is not None:
            return (_key(Key, (*self._only, last)),)
        return tuple([_key(Key, (*prefix, last)) for prefix in self.prefixes])


def names_of_resources(
    tenant: str, data_type: str, resource_id: Id | None, scope: Scope
) -> list[str]:
    """What an invalidation of a type and an id means; the id may be "*"."""
    if resource_id is None:
        raise BadInput(
            f"invalidate({shown(data_type)}) names no resource; pass its id, "
            'or "*" for every resource of the type'
        )
    data_type, resource_id = arguments.data_type(data_type), id_text(resource_id)
    if resource_id == "*":
        return all_of_type(tenant, data_type, scope)
    return resource_names(tenant, data_type, resource_id, scope)


def names_of_parts(tenant: str, resource_id: Id | None, scope: Scope) -> list[str]:
    """What an invalidation without a type means: all that belongs to the parts."""
    if resource_id is not None:
        raise BadInput(
            f"invalidate() got resource_id={shown(resource_id)} without a data_type; pass both"
        )
    return part_names(tenant, scope)
