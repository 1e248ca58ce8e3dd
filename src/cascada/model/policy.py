"""What a data type asks of the cache, and in which order keys are looked up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final, Literal, get_args

from cascada.model.errors import InvalidPolicy
from cascada.model.keys import Key, Scope
from cascada.model.ttl import (
    AGENT_SERVICE_TTL_MAPPING,
    DEFAULT_TTL_MAPPING,
    TTL_SHORT,
    Duration,
    get_ttl_for_data_type,
    seconds,
)

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
    priority: what eviction gives up last. durable: also kept in the database tier.
    strict: an invalidation waits until no process's memory serves the old value, and none does
        while the shared tier is away. `get_many` gives values of one moment: all or none of what a
        cascade has reached.
    shared: hits get the one decoded object, which the caller promises not to change.
    sensitive: stored encrypted or not at all (refused until encryption is there).
    bulky_bytes: a value whose stored form is larger is counted, warned of, and fresh for bulky_ttl
        at most (None: no size is too large).
    codec: of the lists of floats of `embedding` and `vector_store`: "f32" halves their space and
        keeps a relative error of 6e-8, "f64" is exact. All else is exact anyway.
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
    max_ttl: Duration | None = None
    bulky_bytes: int | None = None
    bulky_ttl: Duration = TTL_SHORT
    codec: Floats = "f32"
    version: int = 0
    type: Any = None

    def __post_init__(self) -> None:
        for name in (
            "ttl", "max_ttl", "stale_for", "stale_if_error", "none_ttl", "bulky_ttl",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (value == 0 and name.startswith("stale")):
                seconds(value, f"Policy.{name}")
        if self.refresh_at is not None and not 0 < self.refresh_at < 1:
            raise InvalidPolicy(
                f"Policy.refresh_at is {self.refresh_at!r}; "
                "pass a fraction of the ttl between 0 and 1, such as 0.8"
            )
        if self.varies_by is not None:
            given: object = self.varies_by
            if not isinstance(given, tuple) or set(given) - set(CONTEXT_PARTS):
                raise InvalidPolicy(
                    f"Policy.varies_by is {self.varies_by!r}; "
                    f"pass a tuple of {', '.join(CONTEXT_PARTS)}"
                )
        size: object = self.bulky_bytes
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise InvalidPolicy(
                f"Policy.bulky_bytes is {size!r}; pass a whole number of bytes of at least 1"
            )
        if self.version not in range(256):
            raise InvalidPolicy(f"Policy.version is {self.version!r}; pass a number from 0 to 255")
        if self.sensitive:
            raise InvalidPolicy(
                "Policy.sensitive is True, but this version of cascada cannot encrypt; "
                "do not cache such values yet"
            )
        self._check_choices()

    def _check_choices(self) -> None:
        for name, known in (("lookup", get_args(Lookup)), ("codec", get_args(Floats))):
            if getattr(self, name) not in known:
                raise InvalidPolicy(
                    f"Policy.{name} is {getattr(self, name)!r}; pass one of {', '.join(known)}"
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
    data_type: Policy(ttl=get_ttl_for_data_type(data_type), varies_by=_VARIES_BY.get(data_type))
    for data_type in {**DEFAULT_TTL_MAPPING, **AGENT_SERVICE_TTL_MAPPING}
}
"""The documented types: the ttl tables, and which context parts they depend on."""


def with_built_in(data_type: str, policy: Policy) -> Policy:
    """`policy`, with the documented values where it leaves ttl and varies_by open."""
    documented = BUILT_IN.get(data_type)
    if documented is None or (policy.ttl is not None and policy.varies_by is not None):
        return policy
    chosen = {field.name: getattr(policy, field.name) for field in fields(policy)}
    for name in ("ttl", "varies_by"):
        if chosen[name] is None:
            chosen[name] = getattr(documented, name)
    return Policy(**chosen)


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
