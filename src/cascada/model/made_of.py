"""Sources: what a value says that it was made from, beside what its loader read by itself.

    `sources=[hit, ("document", "d1"), ("memory", "m1", Scope(agent="a1"))]`

Every face that takes `sources=` brings them into one form here (`MadeOf`).

- A hit carries its key, its own sources, and the bytes that were read. What is made of it is stored
  only while the same bytes are there.
- A pair is a type and an id, which say nothing of when it was read. A third item is the context
  that it was read in.
- The id "*" is refused: who invalidates one document would not reach it. (In `cascada.ai`, where it
  is any of a type, who writes one names that as well.)
- A str could be misread: in "doc:agent:d1" the type may be "doc" or "doc:agent", and who guesses
  wrong lets the answer outlive its source. So one is taken only if it holds a single colon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.entry import Hit
from cascada.model.errors import BadInput, InvalidKey
from cascada.model.keys import NO_SCOPE, Key, Scope, scope_of
from cascada.model.names import resource_names, static_names, type_name, without_entries

Declared = Any
"""What callers may pass as one source: a Hit, a Key, a pair, a pair with a Scope, "type:id"."""

_ACCEPTED: Final = 'a hit, or a type and an id, such as ("document", "d1")'


class MadeOf(NamedTuple):
    """One source as it is kept. `tenant`: whose it is, where that was said. `names`: of what it
    was made from itself. `data`: the bytes that were read, where a hit says them; `stale`: they
    were so already."""

    data_type: str
    resource_id: str
    scope: Scope = NO_SCOPE
    tenant: str | None = None
    names: tuple[str, ...] = ()
    data: bytes | None = None
    stale: bool = False

    @property
    def key(self) -> Key:
        """Where it was read."""
        assert self.tenant is not None  # a hit has told it
        return Key(self.tenant, self.data_type, *self.scope, self.resource_id)


def sources_of(sources: object, *, any_id: bool = False) -> tuple[MadeOf, ...]:
    """Sources that were passed, each in the one form; InvalidKey for what could be misread.
    `any_id`: "*" may be an id."""
    if type(sources) is tuple and not sources:
        return ()
    given = arguments.several(sources, "sources", "sources")
    return tuple([each if type(each) is MadeOf else _source(each, any_id) for each in given])


def sources_for(tenant: str, sources: object, *, any_id: bool = False) -> tuple[MadeOf, ...]:
    """The same, of what is made for this tenant; BadInput for a source of another one."""
    found = sources_of(sources, any_id=any_id)
    for source in found:
        if source.tenant not in (None, tenant):
            raise BadInput(
                f"a source is of tenant {source.tenant!r}, and what is made of it of {tenant!r}; "
                "an invalidation of the one would not reach the other"
            )
    return found


def source_names(tenant: str, sources: object) -> list[str]:
    """All names of these sources, as a value of this tenant bears them."""
    return [name for source in sources_for(tenant, sources) for name in _names(tenant, source)]


def _names(tenant: str, source: MadeOf) -> list[str]:
    """The names by which a source can be invalidated."""
    data_type, resource_id, scope, _, made_of, *_ = source
    if scope == NO_SCOPE:
        # The type, because who invalidates every resource of it means this one too.
        names = resource_names(tenant, data_type, resource_id, NO_SCOPE)
        return [*names, type_name(tenant, data_type), *made_of]
    return [*static_names(Key(tenant, data_type, *scope, resource_id)), *made_of]


def _source(given: Any, any_id: bool) -> MadeOf:
    kind = type(given)
    if issubclass(kind, Hit) and given.origin is not None:
        read = given.origin
        names = tuple(without_entries(read.names))
        return _source(read.key, any_id)._replace(names=names, data=read.data, stale=given.stale)
    tenant: str | None = None
    parts: Sequence[Any] = ()
    if issubclass(kind, Key):
        tenant = arguments.tenant(given.tenant)
        parts = given.data_type, given.resource_id, given.scope
    elif issubclass(kind, str):
        given = arguments.text(given, "source")
        before, _, after = given.partition(":")
        if before and after and ":" not in after:
            parts = before, after
    elif kind in (tuple, list) and len(given) in (2, 3):
        parts = given
    if not parts:
        raise arguments.refused("source", given, _ACCEPTED, InvalidKey)
    data_type, resource_id, scope = (*parts, None)[:3]
    data_type = arguments.data_type(data_type, "the type of a source")
    resource_id = arguments.identity(resource_id, "the id of a source")
    if resource_id == "*" and not (any_id or issubclass(kind, Key)):
        raise InvalidKey(
            f"a source is {shown(given)}, which the invalidation of one {data_type} would not "
            "reach; pass the types and ids that were read, a tag, or, of what is called so, its "
            "tenant.key(...)"
        )
    return MadeOf(
        data_type,
        resource_id,
        NO_SCOPE if scope is None else scope_given(scope, "the context of a source"),
        tenant,
    )


def scope_given(value: object, what: str = "scope") -> Scope:
    """A Scope that a caller made, of canonical ids."""
    scope = arguments.instance(value, what, Scope, 'a Scope, such as Scope(agent="a1")')
    return scope_of(*scope)
