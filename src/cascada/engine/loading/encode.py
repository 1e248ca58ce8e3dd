"""From a value to an entry: encoding, lifetimes, and the names that it bears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.codecs.values import AS_ARRAY
from cascada.engine.loading.dependencies import LoadContext
from cascada.engine.request import LoadResult, Request
from cascada.engine.stack import Stack
from cascada.model.entry import UNSET, Codec, Entry, Flag, priority_bits
from cascada.model.errors import SerializationError
from cascada.model.made_of import source_names
from cascada.model.names import static_names, tag_name
from cascada.model.policy import CachePriority, Policy
from cascada.model.ttl import Duration, seconds


def entry_of(stack: Stack, request: Request, result: LoadResult, context: LoadContext) -> Entry:
    """What a loaded value is stored as, if it is.

    Its own sources (what it was made from) are capped, its tags are not. A value that cannot be
    stored exactly is no failure of the load: it goes to those who wait for it, and is not stored.
    """
    policy, key = request.kind.policy, request.key
    made_of = source_names(key.tenant, result.sources) if result.sources else ()
    names = entry_names(request, result.tags, [*made_of, *context.names])
    if result.absent:
        lasts = _absence_lasts(stack, policy)
        return absence(policy, stack.now(), lasts, names, result.version, asked=request.generating)
    try:
        entry = encoded(stack, request, result.value, result.ttl, names, result.version)
    except SerializationError as error:
        if stack.debug:
            raise
        stack.trace.unstorable(request.kind, key, str(error))
        result.store = result.storable = False
        now = stack.now()
        return Entry(b"", Codec.NOTHING, 0, now, now, now, names)
    # Whoever gets it decodes it, the first one too: the loader may keep its object for others.
    result.value = UNSET
    return entry


def absence(
    policy: Policy,
    now: float,
    lasts: float,
    names: tuple[str, ...],
    version: int | None = None,
    *,
    priority: CachePriority | None = None,
    asked: bool = False,
) -> Entry:
    """ "There is nothing", as an entry; `asked`: the generator has said so, too."""
    flags = Flag.ABSENT | (Flag.GENERATOR_ASKED if asked else 0) | policy.version << 8
    flags |= priority_bits(policy.priority if priority is None else priority)
    until = now + lasts
    return Entry(b"", Codec.NOTHING, flags, now, until, until, names, version, value=None)


def over(most: int) -> str:
    """What is said of a value that is larger than the cache takes."""
    return f"over max_value_bytes={most}; store it elsewhere, and its address here"


def _absence_lasts(stack: Stack, policy: Policy) -> float:
    """Seconds for which "there is nothing" is remembered; 0 is not at all."""
    if policy.none_ttl is not None:
        return seconds(policy.none_ttl)
    # A read by level has to know what is not there.
    return (
        policy.lifetimes(None, stack.kinds.default_ttl)[0] if policy.lookup == "by_level" else 0.0
    )


def is_typed(request: Request) -> bool:
    """Whether the value comes back as a type that it need not have when it is loaded."""
    return request.want is not None or request.kind.policy.type is not None


def encoded(
    stack: Stack,
    request: Request,
    value: object,
    ttl: Duration | None,
    names: tuple[str, ...],
    version: int | None,
    priority: CachePriority | None = None,
) -> Entry:
    """`value` as an entry that is fresh from now on; `priority` goes before the policy's."""
    policy = request.kind.policy
    wanted = policy.type if request.want in (None, AS_ARRAY) else request.want
    made = stack.codec.encode(
        value, type=wanted, vectors=request.kind.vectors, exact_floats=policy.codec == "f64"
    )
    fresh, whole = policy.lifetimes(ttl, stack.kinds.default_ttl, len(made.data))
    if request.stale_for is not None:
        whole = max(whole, fresh + request.stale_for)
    now = stack.now()
    fresh_until = now + fresh
    # One float where there is one moment: memory holds many entries, and keeps what it is given.
    expires = fresh_until if whole == fresh else now + whole
    shared = made.value
    if wanted is not policy.type and not (wanted is Any and policy.type is None):
        # Of this call's own type: who asks without it gets plain data, here as in other processes.
        shared = UNSET
    elif policy.shared and shared is UNSET:
        # Not the object that was given: who gave it may change it, and it may be of another type.
        shared = stack.codec.decode(made.data, made.codec, made.flags, type=wanted)
    return Entry(
        made.data,
        made.codec,
        int(made.flags)
        | policy.version << 8
        | priority_bits(policy.priority if priority is None else priority),
        now,
        fresh_until,
        expires,
        names,
        version,
        shared,
    )


def entry_names(request: Request, tags: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The dynamic names: tags, sources and left-out context, less what the key says anyway.

    In order, so that who gives the same ones in another order says the same.
    """
    if not (tags or sources or request.context):
        return ()
    static = set(static_names(request.key))
    own = dict.fromkeys(tag_name(request.key.tenant, tag) for tag in tags)
    own.update(dict.fromkeys(request.context))
    own.update(dict.fromkeys(sources))
    return tuple(sorted(own.keys() - static))
