"""What a tenant handle works out once for a data type, so that a read only adds the id."""

from __future__ import annotations

from cascada.engine.kind import Kind
from cascada.model.keys import Scope
from cascada.model.names import context_names
from cascada.model.policy import candidates


class Shape:
    """What a handle knows of one data type: the key's fixed part, and the names left out of it."""

    __slots__ = ("context", "kind", "prefix", "prefixes", "scope")

    def __init__(self, kind: Kind, tenant: str, data_type: str, scope: Scope) -> None:
        varies_by = kind.policy.varies_by
        self.kind = kind
        self.scope = scope if varies_by is None else scope.only(varies_by)
        self.prefix = (tenant, data_type, *self.scope)
        self.prefixes = tuple(
            key[:-1] for key in candidates(kind.policy, tenant, data_type, scope, "id")
        )
        left_out = Scope(
            *(None if kept else part for part, kept in zip(scope, self.scope, strict=True))
        )
        self.context = tuple(context_names(tenant, data_type, left_out))
