"""What a data type asks of the cache, and in which order keys are looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from functools import partial, wraps
from typing import Any, Final, Literal, TypeVar, get_args

from cascada.model import arguments
from cascada.model.errors import InvalidPolicy
from cascada.model.keys import Key, Scope
from cascada.model.plain import number_of
from cascada.model.ttl import (
    AGENT_SERVICE_TTL_MAPPING,
    DEFAULT_TTL_MAPPING,
    TTL_SHORT,
    Duration,
    get_ttl_for_data_type,
    seconds,
)

T = TypeVar("T")

Lookup = Literal["nearest", "exact", "strict"]
Floats = Literal["f32", "f64"]
ContextPart = Literal["agent", "conversation", "collection"]
CONTEXT_PARTS: Final[tuple[ContextPart, ...]] = get_args(ContextPart)


class CachePriority(IntEnum):
    """How willingly an entry is given up: CRITICAL last, LOW first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


def _telling_its_fields(kind: type[T]) -> type[T]:
    """A dataclass that says what there is when it is given a field that there is not."""
    cls: Any = kind
    made, known = cls.__init__, cls.__dataclass_fields__

    @wraps(made)
    def init(self: Any, *args: Any, **named: Any) -> None:
        for name in named:
            if name not in known:
                fields = ", ".join(known)
                raise InvalidPolicy(f"{kind.__name__} has no field {name!r}; pass one of {fields}")
        made(self, *args, **named)

    cls.__init__ = init
    return kind


@_telling_its_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How values of one data type are cached. Durations are seconds or timedelta.

    ttl: how long a value is fresh (None: the documented tables, else the cache's default).
    max_ttl: an upper bound on every ttl, also those given with a value.
    stale_for: how much longer it may be served while it is refreshed in the background.
    stale_if_error: how much longer it may be served when its source fails.
    refresh_at: the fraction of the ttl after which a hit starts a refresh (None: never ahead).
    none_ttl: how long "there is nothing" is remembered (None: not at all).
    varies_by: the context parts that its key holds (None: all that are given).
    lookup: "nearest" also answers with a more general context's value, "exact" does not. "strict"
        does where the more specific values are known not to be there: the loader is asked level
        by level, and absences are stored (for `none_ttl`, else as long as a value).
    priority, durable: without effect in this version. Eviction gives up what was used least lately,
        and the database tier keeps every value.
    strict: an invalidation waits until no process's memory serves the old value, and none does
        while the shared tier is away. `get_many` gives values of one moment: all or none of what a
        cascade has reached.
    shared: hits get the one decoded object, which the caller promises not to change.
    sensitive: stored encrypted or not at all (refused until encryption is there).
    checkable: whether hits may be compared with their source (`self_check`). Say no where asking
        it is dear, or where it says something else each time, as a language model does (None: yes,
        but for `agent_response`).
    bulky_bytes: a value whose stored form is larger is counted, warned of, and fresh for bulky_ttl
        at most (None: no size is too large).
    codec: of the lists of floats of `embedding` and `vector_store`: "f32" halves their space and
        keeps a relative error of 6e-8, "f64" is exact. All else is exact anyway.
    sources: "required": what was made from nothing that is known is not stored (None: it is).
    version: 0..255, of the shape of the values; entries of another version are misses.
    type: what stored values are decoded to (a dataclass, a model, `set[int]`, ...).
    """

    ttl: Duration | None = None
    stale_for: Duration | None = None
    stale_if_error: Duration | None = None
    refresh_at: float | None = None
    none_ttl: Duration | None = None
    varies_by: tuple[ContextPart, ...] | None = None
    lookup: Lookup = "nearest"
    priority: CachePriority = CachePriority.NORMAL
    durable: bool = False
    strict: bool = False
    shared: bool = False
    sensitive: bool = False
    checkable: bool | None = None
    max_ttl: Duration | None = None
    bulky_bytes: int | None = None
    bulky_ttl: Duration = TTL_SHORT
    codec: Floats = "f32"
    sources: Literal["required"] | None = None
    version: int = 0
    type: Any = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            given = getattr(self, name)
            plain = check(given, f"Policy.{name}")
            if plain is not given:
                object.__setattr__(self, name, plain)
        if self.sensitive:
            raise InvalidPolicy(
                "Policy.sensitive is True, but this version of cascada cannot encrypt; "
                "do not cache such values yet"
            )

    def is_bulky(self, size: int) -> bool:
        """Whether a value of so many stored bytes is larger than it should be."""
        return self.bulky_bytes is not None and size > self.bulky_bytes

    def lifetimes(self, ttl: Duration | None, default: float, size: int = 0) -> tuple[float, float]:
        """Seconds that a value of `size` bytes is fresh, and until it is gone; `inf` is never."""
        chosen = self.ttl if ttl is None else ttl
        fresh = default if chosen is None else seconds(chosen)
        if self.max_ttl is not None:
            fresh = min(fresh, seconds(self.max_ttl))
        if self.is_bulky(size):
            fresh = min(fresh, seconds(self.bulky_ttl))
        grace = max(
            (seconds(extra) for extra in (self.stale_for, self.stale_if_error) if extra),
            default=0.0,
        )
        return fresh, fresh + grace


Check = Callable[[Any, str], Any]


def _or_none(check: Check) -> Check:
    return lambda given, what: None if given is None else check(given, what)


def _lasting(given: Any, what: str) -> Duration:
    """A duration as it was written, if that is a plain one."""
    length = arguments.duration(given, what)
    return given if type(given) in (int, float, timedelta) else length


def _longer(given: Any, what: str) -> Duration:
    """The same, or 0: then nothing is served stale."""
    return 0 if number_of(given) == 0 else _lasting(given, what)


def _fraction(given: Any, what: str) -> float:
    plain = number_of(given)
    if plain is None or not 0 < plain < 1:
        accepted = "a fraction of the ttl between 0 and 1, such as 0.8"
        raise arguments.refused(what, given, accepted, InvalidPolicy)
    return plain


def _parts(given: Any, what: str) -> tuple[str, ...]:
    if type(given) is not tuple:
        accepted = f"a tuple of {', '.join(CONTEXT_PARTS)}"
        raise arguments.refused(what, given, accepted, InvalidPolicy)
    return tuple([arguments.choice(each, what, CONTEXT_PARTS, InvalidPolicy) for each in given])


_flag = partial(arguments.flag, error=InvalidPolicy)
_CHECKS: Final[dict[str, Check]] = {
    "ttl": _or_none(_lasting),
    "stale_for": _or_none(_longer),
    "stale_if_error": _or_none(_longer),
    "refresh_at": _or_none(_fraction),
    "none_ttl": _or_none(_lasting),
    "varies_by": _or_none(_parts),
    "lookup": partial(arguments.choice, known=get_args(Lookup), error=InvalidPolicy),
    "priority": partial(
        arguments.instance, kind=CachePriority, accepted="a CachePriority, such as HIGH"
    ),
    "durable": _flag,
    "strict": _flag,
    "shared": _flag,
    "sensitive": _flag,
    "checkable": _or_none(_flag),
    "max_ttl": _or_none(_lasting),
    "bulky_bytes": _or_none(partial(arguments.integer, least=1, error=InvalidPolicy)),
    "bulky_ttl": _lasting,
    "codec": partial(arguments.choice, known=get_args(Floats), error=InvalidPolicy),
    "sources": _or_none(partial(arguments.choice, known=("required",), error=InvalidPolicy)),
    "version": partial(arguments.integer, least=0, most=255, error=InvalidPolicy),
}
"""What each field may be, but for `type`, which the codecs know."""


_VARIES_BY: Final[dict[str, tuple[ContextPart, ...]]] = {
    "agent_config": ("agent",),
    "agent_tools": ("agent",),
    "conversation": ("conversation",),
    "conversation_memory": ("conversation",),
    "conversation_message": ("conversation",),
    "conversation_messages_list": ("conversation",),
    "query_result": ("collection",),
    "vector_store": ("collection",),
}

BUILT_IN: Final = {
    data_type: Policy(
        ttl=get_ttl_for_data_type(data_type),
        varies_by=_VARIES_BY.get(data_type),
        checkable=False if data_type == "agent_response" else None,
    )
    for data_type in {**DEFAULT_TTL_MAPPING, **AGENT_SERVICE_TTL_MAPPING}
}
"""The documented types: the ttl tables, and which context parts they depend on."""


def with_built_in(data_type: str, policy: Policy) -> Policy:
    """`policy`, with the documented values where it leaves ttl, varies_by and checkable open."""
    documented = BUILT_IN.get(data_type)
    if documented is None:
        return policy
    left = ("ttl", "varies_by", "checkable")
    return replace(
        policy,
        **{name: getattr(documented, name) for name in left if getattr(policy, name) is None},
    )


# The documents' order, from the most specific context to none; each row lists the parts it keeps.
_LOOKUP_TABLE: Final[tuple[tuple[ContextPart, ...], ...]] = (
    ("agent", "conversation", "collection"),
    ("agent", "conversation"),
    ("agent", "collection"),
    ("collection",),
    ("agent",),
    (),
)


def candidates(
    policy: Policy, tenant: str, data_type: str, scope: Scope, resource_id: str
) -> tuple[Key, ...]:
    """The keys that may answer, the one with all its context first.

    All but `exact` go on with those rows of the table whose parts are all given; a conversation
    alone is in no row, so its full key is followed by the key without context.
    """
    if policy.varies_by is not None:
        scope = scope.only(policy.varies_by)
    scopes = [scope]
    if policy.lookup != "exact" and scope.parts:
        given = {part for part, value in zip(CONTEXT_PARTS, scope, strict=True) if value}
        scopes += [scope.only(row) for row in _LOOKUP_TABLE if given.issuperset(row)]
    return tuple(Key(tenant, data_type, *kept, resource_id) for kept in dict.fromkeys(scopes))
