"""Which keys of a service are rows of a table of the application.

The application makes a `Mapping` for each such table and gives them to its `CacheService`; `target`
writes by them. Names are checked here; whether table and columns are there, the database says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as Values
from collections.abc import Sequence
from typing import Any, Final, Literal

from cascada.model.door import arguments
from cascada.model.errors import BadInput, Misuse
from cascada.service.sync.conflicts import Conflicts, Strategy, strategy

OnDelete = Literal["keep", "soft", "delete"]
_ON_DELETE: Final = ("keep", "soft", "delete")
_LONGEST: Final = 63
"""Bytes of a name that PostgreSQL keeps; of a longer one it takes the beginning."""

Columns = Sequence[str] | Values[str, str]


class Mapping:
    """Keys that begin with `prefix` are rows of `table` ("name" or "schema.name").

    The rest of the key is the row's id, in `key_column`. `columns`: the fields of a value that are
    written, and by field the column where the two are called differently; fields beside them are
    left alone. `version_column`: a whole number that each writer of a row raises; the value's field
    of that name says which version it was made from. None: what others have written cannot be seen.
    The table has to have a primary key or a unique index of its key and tenant columns (or of some
    of them), else nothing is written, and the sync says which statement makes one.

    `tenant_column` holds the tenant. A table without one is of one tenant: `tenant`, else
    CASCADA_TENANT; a change of another tenant is set aside.

    The table is the application's: what it says of a sensitive type is written as it is.

    `writes=False`: nothing is written. `on_delete`: what `delete(key, row=True)` does to the row;
    "soft" writes the time, or True, into `deleted_column`. `conflicts`: as of the service, for this
    table alone.
    """

    __slots__ = (
        "columns",
        "conflicts",
        "deleted_column",
        "key_column",
        "on_delete",
        "prefix",
        "schema",
        "table",
        "tenant",
        "tenant_column",
        "version_column",
        "version_field",
        "writes",
    )

    prefix: str
    schema: str | None
    table: str
    columns: Values[str, str]
    version_column: str | None
    version_field: str | None
    key_column: str
    tenant_column: str | None
    tenant: str | None
    writes: bool
    on_delete: OnDelete
    deleted_column: str
    conflicts: Strategy | None

    def __init__(
        self,
        prefix: str,
        table: str,
        columns: Columns,
        version_column: str | None = None,
        *,
        key_column: str = "id",
        tenant_column: str | None = None,
        tenant: str | None = None,
        writes: bool = True,
        on_delete: OnDelete = "keep",
        deleted_column: str = "deleted_at",
        conflicts: Conflicts | None = None,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("prefix", arguments.name(prefix, "prefix", 'a prefix of keys, such as "campaign:"'))
        schema, _, name = arguments.text(table, "table").rpartition(".")
        if "." in schema:
            raise arguments.refused("table", table, '"name" or "schema.name"')
        put("table", _identifier(name, "table"))
        put("schema", _identifier(schema, "table") if schema else None)
        put("columns", _columns(columns))
        put("version_column", _or_none(version_column, "version_column"))
        put("key_column", _identifier(key_column, "key_column"))
        put("tenant_column", _or_none(tenant_column, "tenant_column"))
        put("tenant", None if tenant is None else arguments.tenant(tenant))
        put("writes", arguments.flag(writes, "writes"))
        put("on_delete", arguments.choice(on_delete, "on_delete", _ON_DELETE))
        put("deleted_column", _identifier(deleted_column, "deleted_column"))
        put("conflicts", None if conflicts is None else strategy(conflicts))
        if self.tenant is not None and self.tenant_column is not None:
            raise BadInput(
                "tenant and tenant_column are both given; pass tenant_column for a table of many "
                "tenants, or tenant for a table of one"
            )
        fields = {to: field for field, to in self.columns.items()}
        put("version_field", fields.get(self.version_column or "", self.version_column))
        own = {self.key_column, self.tenant_column, self.version_column}
        put("columns", {field: to for field, to in self.columns.items() if to not in own})
        if not self.columns:
            raise arguments.refused("columns", columns, "a column beside key, tenant and version")

    def __setattr__(self, name: str, value: object) -> None:
        raise Misuse(f"a Mapping does not change: make another one to set {name}")

    def __repr__(self) -> str:
        table = self.table if self.schema is None else f"{self.schema}.{self.table}"
        return f"Mapping({self.prefix!r}, {table!r}, {dict(self.columns)!r})"


def _identifier(given: object, what: str) -> str:
    name = arguments.name(given, what, "the name of a table or a column")
    if "\0" in name or len(name.encode()) > _LONGEST:
        raise arguments.refused(what, given, f"a name of at most {_LONGEST} bytes, without NUL")
    return name


def _or_none(given: object, what: str) -> str | None:
    return None if given is None else _identifier(given, what)


def _columns(given: object) -> dict[str, str]:
    if arguments.is_mapping(given):
        pairs = arguments.mapping(given, "columns", "columns by field")
        found = {arguments.name(field, "columns"): to for field, to in pairs.items()}
    else:
        found = {name: name for name in arguments.names(given, "columns", "columns")}
    columns = {field: _identifier(to, "columns") for field, to in found.items()}
    if len({*columns.values()}) < len(columns):
        raise arguments.refused("columns", given, "each column once")
    return columns


def mappings(given: object) -> tuple[Mapping, ...]:
    """The mappings of a service, the longest prefix first, so that the first that fits is meant."""
    accepted = "a list of Mappings"
    found = [
        arguments.instance(each, "mappings", Mapping, accepted)
        for each in arguments.several(given, "mappings", "Mappings")
    ]
    for prefix, times in Counter(each.prefix for each in found).items():
        if times > 1:
            raise BadInput(
                f"mappings has {prefix!r} {times} times; pass one Mapping for each prefix"
            )
    return tuple(sorted(found, key=lambda each: -len(each.prefix)))
