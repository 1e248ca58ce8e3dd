"""What a tenant handle works out of its arguments once for a data type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cascada.engine.kinds import Kind
from cascada.engine.request import Request
from cascada.model.door import arguments
from cascada.model.keys import NO_SCOPE, Id, Key, Prefix, Scope
from cascada.model.names import context_names
from cascada.model.policy import candidates
from cascada.tiers.memory.record import Partition

_key: Final = tuple.__new__
"""A Key without its constructor, which is a Python function: thrice as fast."""


class TypeKeys:
    """What a handle knows of one data type: the key's fixed part, and the names left out of it.

    Most handles are made for one request and answer one hit, which asks for the `prefix` alone. So
    the rest is worked out at the first miss. `records` is what memory has of it, by id: the one
    dict of its `partition`. `by_level`: each level of the context is asked for by itself.
    """

    __slots__ = (
        "_given", "_nearest", "_policy", "_rest", "by_level", "kind", "partition", "prefix",
        "records", "scope",
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
        self._policy = policy = kind.policy  # a type may be given another one meanwhile
        self._given = scope
        self.scope = scope if policy.varies_by is None else scope.only(policy.varies_by)
        self.by_level = policy.lookup == "by_level" and self.scope != NO_SCOPE
        self.partition = partition_of((tenant, data_type, *self.scope))
        self.prefix = self.partition.prefix  # one tuple for all handles
        self.records = self.partition.records
        self._rest: tuple[tuple[Prefix, ...], tuple[str, ...]] | None = None

    def request(self, resource_id: Id, want: Any = None, *, generating: bool = False) -> Request:
        """What is asked for one id: by the keys that may answer, the most specific one first."""
        last = arguments.identity(resource_id)
        prefixes, context = self._rest or self._worked_out()
        keys: tuple[Key, ...] = ()
        for prefix in prefixes:  # mostly one
            keys += (_key(Key, (*prefix, last)),)
        kind = self.kind if self.kind.arms is None else self.kind.of(self.prefix[0], last)
        return Request(kind, keys, context, want, generating=generating)

    def _worked_out(self) -> tuple[tuple[Prefix, ...], tuple[str, ...]]:
        """The keys without their id, and the names of the context parts that they leave out."""
        tenant, data_type = self.prefix[:2]
        keys = candidates(self._policy, tenant, data_type, self._given, "id", nearest=self._nearest)
        left_out = Scope(
            *(None if kept else part for part, kept in zip(self._given, self.scope, strict=True))
        )
        self._rest = (
            tuple(key[:-1] for key in keys),
            tuple(context_names(tenant, data_type, left_out)),
        )
        return self._rest
