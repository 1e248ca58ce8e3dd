"""What a tenant handle works out of its arguments: once for a data type, or to invalidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cascada.engine.kinds import Kind
from cascada.engine.request import Request
from cascada.model.errors import BadInput
from cascada.model.keys import Id, Key, Prefix, Scope, id_text
from cascada.model.names import all_of_type, context_names, part_names, resource_names
from cascada.model.policy import candidates
from cascada.model.shown import shown
from cascada.tiers.memory.record import Partition

_key: Final = tuple.__new__
"""A Key without its constructor, which is a Python function: thrice as fast."""


class TypeKeys:
    """What a handle knows of one data type: the key's fixed part, and the names left out of it.

    Most handles are made for one request and answer one hit, which asks for the `prefix` alone. So
    the rest is worked out at the first miss. `records` is what memory has of it, by id: the one
    dict of its `partition`.
    """

    __slots__ = (
        "_given", "_nearest", "_policy", "_rest", "kind", "partition", "prefix", "records", "scope",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind,
        tenant: str,
        data_type: str,
        scope: Scope,
        partition_of: Callable[[Prefix], Partition],
        *,
        nearest: bool = False,
    ) -> None:
        self.kind = kind
        self._nearest = nearest
        self._policy = kind.policy  # a type may be given another one meanwhile
        self._given = scope
        varies_by = kind.policy.varies_by
        self.scope = scope if varies_by is None else scope.only(varies_by)
        self.prefix: Prefix = (tenant, data_type, *self.scope)
        self.partition = partition_of(self.prefix)
        self.prefix = self.partition.prefix  # one tuple for all handles
        self.records = self.partition.records
        self._rest: tuple[tuple[Prefix, ...], tuple[str, ...]] | None = None

    @property
    def by_level(self) -> bool:
        """Whether each level of the context is asked for by itself."""
        return self._policy.lookup == "by_level" and len(self._worked_out()[0]) > 1

    @property
    def context(self) -> tuple[str, ...]:
        """The names of the context parts that the key leaves out."""
        return self._worked_out()[1]

    def request(self, last: str, want: Any = None, *, generating: bool = False) -> Request:
        """What is asked for one canonical id."""
        prefixes, context = self._rest or self._worked_out()
        keys = tuple([_key(Key, (*prefix, last)) for prefix in prefixes])
        return Request(self.kind, keys, context, want, generating=generating)

    def requests(self, ids: Sequence[str], want: Any = None) -> list[Request]:
        """One for each canonical id; there may be thousands."""
        kind, context, keys = self.kind, self.context, self.keys
        return [Request(kind, keys(last), context, want) for last in ids]

    def keys(self, last: str) -> tuple[Key, ...]:
        """The candidates for one id, the most specific one first."""
        prefixes, _ = self._worked_out()
        return tuple([_key(Key, (*prefix, last)) for prefix in prefixes])

    def _worked_out(self) -> tuple[tuple[Prefix, ...], tuple[str, ...]]:
        if self._rest is None:
            tenant, data_type = self.prefix[:2]
            keys = candidates(
                self._policy, tenant, data_type, self._given, "id", nearest=self._nearest
            )
            left_out = Scope(
                *(
                    None if kept else part
                    for part, kept in zip(self._given, self.scope, strict=True)
                )
            )
            prefixes = tuple(key[:-1] for key in keys)
            self._rest = prefixes, tuple(context_names(tenant, data_type, left_out))
        return self._rest


def names_of_resources(
    tenant: str, data_type: str, resource_id: Id | None, scope: Scope
) -> list[str]:
    """What an invalidation of a type and an id means; the id may be "*"."""
    if resource_id is None:
        raise BadInput(
            f"invalidate({shown(data_type)}) names no resource; pass its id, "
            'or "*" for every resource of the type'
        )
    resource_id = id_text(resource_id)
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
