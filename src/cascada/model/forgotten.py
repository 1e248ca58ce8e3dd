"""Whom a `forget` is about, and what it tells: while it goes on, and at its end."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from cascada.model.keys import LABELS, Scope, quote
from cascada.model.names import part_names, tenant_name

USER: Final = "user:"
"""How the collection begins that a user's values are in (`docs/decisions/0031`)."""

_COLLECTION: Final = LABELS["collection"]

_PART: Final = {"f": 2, "p": 2, "q": 3, "s": 4}
"""Behind how many segments of a name of this kind its context part stands."""


class Whom(msgspec.Struct, frozen=True):
    """A tenant, or one of his users: what is in the collection `user:U`."""

    tenant: str
    user: str | None = None

    @property
    def text(self) -> str:
        """The tenant as keys and names have him."""
        return quote(self.tenant)

    @property
    def part(self) -> str:
        """The user's context part as keys and names have it; "" for all of the tenant."""
        return "" if self.user is None else quote(USER + self.user)

    @property
    def name(self) -> str:
        """The name that all of it bears."""
        if self.user is None:
            return tenant_name(self.tenant)
        return part_names(self.tenant, Scope(collection=USER + self.user))[0]

    @property
    def forgotten(self) -> str:
        """The name that no entry bears: who hears of it lets go of what is void by `name`."""
        return f"f{self.name[1:]}"

    @classmethod
    def told_by(cls, name: str) -> Whom:
        """Whose `forgotten` this is."""
        _, tenant, *part = (unquote(each) for each in name.split(":"))
        return cls(tenant, part[1].removeprefix(USER) if part else None)

    def has_key(self, text: str) -> bool:
        """Whether it is about the key with this text."""
        tenant, _, *rest = text.split(":")
        if tenant != self.text:
            return False
        parts = rest[:-1]
        return self.user is None or (_COLLECTION, self.part) in zip(
            parts[::2], parts[1::2], strict=False
        )

    def is_named(self, name: str) -> bool:
        """Whether a name says something of him alone."""
        segments = name.split(":")
        kind = segments[0]
        if segments[1] != self.text:
            return False
        if self.user is None:
            return True
        if kind in ("k", "e"):
            return self.has_key(name[2:])
        place = _PART.get(kind)
        return place is not None and segments[place:] == [_COLLECTION, self.part]


class Removed(msgspec.Struct, frozen=True):
    """What went from one tier.

    entries: values, of which some may have been void already. lists, counters: of the tenant.
    changes: what waited to be written elsewhere, or was set aside, and is dropped. others: what
    else bore his name: leases, versions, tags, names of what was invalidated. size_bytes: of the
    values and changes, as they lay there. incomplete: why not all of it is gone, in a sentence that
    says what to do; "" if it is.
    """

    tier: str
    entries: int = 0
    lists: int = 0
    counters: int = 0
    changes: int = 0
    others: int = 0
    size_bytes: int = 0
    incomplete: str = ""

    def with_more(self, more: Removed) -> Removed:
        """Both together."""
        return Removed(
            self.tier,
            self.entries + more.entries,
            self.lists + more.lists,
            self.counters + more.counters,
            self.changes + more.changes,
            self.others + more.others,
            self.size_bytes + more.size_bytes,
            more.incomplete or self.incomplete,
        )


class ForgetProgress(NamedTuple):
    """Of a `forget` that goes on: where it is, and what went from there so far. `database`: where a
    service syncs to; with 0 removed it waits for who is writing a batch there."""

    tenant: str
    tier: str
    removed: int
    seconds: float


class ForgetReport(msgspec.Struct, frozen=True):
    """What a `forget` has removed, tier by tier, and what is left to do.

    key_dropped: whether there was a data key of the tenant, which is gone. rows: of cascada's own
    tables in the database that a service syncs to (`CacheService.forget`). remains: what no cache
    can remove, in sentences for the operator.
    """

    tenant: str
    user: str | None
    removed: tuple[Removed, ...]
    key_dropped: bool = False
    rows: int = 0
    remains: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether all of it is gone from every tier; if not, call it again: it goes on."""
        return not any(each.incomplete for each in self.removed)
