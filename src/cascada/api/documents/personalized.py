"""`personalized_cache`: values of a user or a segment, in front of those that all get.

A user and a segment are told apart from flat keys, and from each other, by the context part of the
key that says whose a collection is: `coll:user:U`, `coll:segment:S`. So everything of a user bears
one name, by which it goes, whatever its keys are called; it costs the same for one value as for a
million. The keys are made here, and not by a handle: a policy that leaves a context part out of the
keys of its types would give all users one.

A read has candidates, like a read in a context (`docs/protocol.md` rule 24): memory may keep what a
later one has answered under the first one's key. So the first one says whom all others are for. Of
several segments this is a key of its own that nothing is ever stored under; the user stays a part
of it, since all that is kept for him has to go with what is his.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cascada.api.context import current_tenant
from cascada.api.default import default_cache
from cascada.api.documents.layers import FLAT, flat, lifetime
from cascada.codecs.digest import generate_resource_id_hash
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import Terms
from cascada.engine.request import Request
from cascada.model.door import arguments
from cascada.model.entry import UNSET, Unset
from cascada.model.errors import BadInput
from cascada.model.keys import LABELS, Id, Key
from cascada.model.names import type_at
from cascada.model.policy import CachePriority, priority_given
from cascada.model.ttl import Duration

NO_SEGMENTS: Final[tuple[Id, ...]] = ()

MAX_SEGMENTS: Final = 64
"""Segments of one read: each is a key that is asked for."""


class PersonalizedCache:
    """See the module's text. The tenant is the current one; keys are those of the flat calls."""

    async def get(
        self,
        key: Id,
        user_id: Id | None = None,
        segments: Sequence[Id] = NO_SEGMENTS,
        default: Any = None,
    ) -> Any:
        """The user's value, else that of the first of his segments that has one, else the one that
        all get (`set_cached_value` stores it, too), else `default`. In one round trip."""
        cache, tenant = default_cache(), current_tenant()
        name = arguments.identity(key, "key")
        whose = [] if user_id is None else [_user(user_id)]
        if segments is not NO_SEGMENTS:  # whatever else it is has to be looked at
            whose += _segments(segments)
        keys = [_key(tenant, each, name) for each in (*whose, None)]
        if len(whose) > 1:
            first = whose[0] if user_id is not None else None
            keys.insert(0, Key(tenant, FLAT, None, _together(whose), first, name))
        engine = cache.tenant(tenant)._engine
        record = engine.partition_of(keys[0][:5]).records.get(name)
        if record is not None and (hit := engine.hits.one(record)) is not None:
            return hit.value
        kind = engine.kinds.of(tenant, FLAT).of(tenant, name)
        request = Request(kind, tuple(keys), apart=True)
        found = await engine.get(request, default)
        return found.value if found else default

    async def set(
        self,
        key: Id,
        value: Any,
        user_id: Id | None = None,
        segment: Id | None = None,
        ttl: Duration | Unset | None = UNSET,
        priority: CachePriority = CachePriority.NORMAL,
    ) -> bool:
        """Store a value for a user, or for a segment, or (with neither) for all; True if stored.

        `ttl` and `priority` as in `set_cached_value`.
        """
        engine, request = self._one(key, user_id, segment)
        terms = Terms(lifetime(ttl), priority=priority_given(priority))
        return await engine.set(request, engine.to_be_set(request, value, terms))

    async def delete(self, key: Id, user_id: Id | None = None, segment: Id | None = None) -> bool:
        """Remove the value of a user, or of a segment, or (with neither) the one for all; True if
        it was there."""
        engine, request = self._one(key, user_id, segment)
        return await engine.delete(request.key, strict=request.kind.policy.strict)

    async def delete_user_cache(self, user_id: Id) -> int:
        """Void everything that was stored for a user, in every tier and process, as on his logout;
        at most so many values went.

        When it returns, no read finds any of it (in another process: a few milliseconds later).
        """
        handle, whose = flat(), _user(user_id)
        engine = handle._engine
        name = type_at(handle.tenant, FLAT, LABELS["collection"], whose)
        strict = engine.kinds.of(handle.tenant, FLAT).policy.strict
        return (await engine.invalidate([name], strict=strict)).keys

    @staticmethod
    def _one(key: Id, user_id: Id | None, segment: Id | None) -> tuple[Engine, Request]:
        """The engine, and what it is asked of one value."""
        name = arguments.identity(key, "key")
        if user_id is not None and segment is not None:
            raise BadInput(
                "user_id and segment were both given; pass one of them, "
                "or neither for the value that all get"
            )
        whose = None
        if user_id is not None:
            whose = _user(user_id)
        elif segment is not None:
            whose = _segment(segment)
        handle = flat()
        kind = handle._engine.kinds.of(handle.tenant, FLAT).of(handle.tenant, name)
        return handle._engine, Request(kind, (_key(handle.tenant, whose, name),))


def _key(tenant: str, whose: str | None, name: str) -> Key:
    return Key(tenant, FLAT, None, None, whose, name)


def _user(user_id: Id) -> str:
    return f"user:{arguments.identity(user_id, 'user_id')}"


def _segment(segment: Id) -> str:
    return f"segment:{arguments.identity(segment, 'segment')}"


def _segments(segments: Sequence[Id]) -> list[str]:
    """Each once, in their order."""
    found = arguments.several(segments, "segments", "names")
    if len(found) > MAX_SEGMENTS:
        raise BadInput(f"segments holds {len(found)} names; pass at most {MAX_SEGMENTS}")
    return list(dict.fromkeys(map(_segment, found)))


def _together(whose: Sequence[str]) -> str:
    """Whom a read of several is for, as one context part."""
    return f"for:{generate_resource_id_hash(*whose)}"


personalized_cache: Final = PersonalizedCache()
