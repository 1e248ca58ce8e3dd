"""What a data type asks of the cache, and in which order keys are looked up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from functools import partial
from typing import Any, Final, Literal, get_args

from cascada.model.door import arguments
from cascada.model.door.checked import Check, Checked, field, or_none
from cascada.model.door.plain import number_of
from cascada.model.errors import BadInput, InvalidPolicy
from cascada.model.keys import Key, Scope
from cascada.model.limits import COUNTED
from cascada.model.ttl import (
    AGENT_SERVICE_TTL_MAPPING,
    DEFAULT_TTL_MAPPING,
    TTL_SHORT,
    Duration,
    get_ttl_for_data_type,
    seconds,
)

Lookup = Literal["nearest", "exact", "by_level"]
Floats = Literal["f32", "f64"]
ContextPart = Literal["agent", "conversation", "collection"]
CONTEXT_PARTS: Final[tuple[ContextPart, ...]] = get_args(ContextPart)


BULKY: Final = 2**20
"""Stored bytes over which a value is bulky, unless its type's policy says it."""


class CachePriority(IntEnum):
    """How willingly an entry is given up: CRITICAL last, LOW first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


def priority_given(
    given: Any, what: str = "priority", error: type[BadInput] = BadInput
) -> CachePriority:
    """One of the four."""
    if type(given) is not CachePriority:
        raise arguments.refused(what, given, "a CachePriority, such as CachePriority.HIGH", error)
    return given


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


def _share(given: Any, what: str) -> float:
    plain = number_of(given)
    if plain is None or not 0 < plain < 1:
        accepted = "a share of the keys between 0 and 1, such as 0.5"
        raise arguments.refused(what, given, accepted, InvalidPolicy)
    return plain


def _tried(given: Any, what: str) -> Policy:
    """A policy beside another one: what says where values are, and what they are, is not its."""
    if not isinstance(given, Policy):
        raise arguments.refused(what, given, "a Policy(...)", InvalidPolicy)
    if alike := [name for name in OF_ALL_VALUES if name in given.said]:
        raise InvalidPolicy(
            f"{what} says {alike[0]}, which is the same for all values of a type; "
            "say it of the policy that it is tried against"
        )
    return given


def _one_of(*known: str) -> Check:
    return partial(arguments.choice, known=known, error=InvalidPolicy)


_flag = partial(arguments.flag, error=InvalidPolicy)


class Policy(Checked):
    """How values of one data type are cached. Durations are seconds or timedelta.

    ttl: how long a value is fresh (None: the documented tables, else the cache's default).
    max_ttl: an upper bound on every ttl, also those given with a value.
    stale_for: how much longer it may be served while it is refreshed in the background.
    stale_if_error: how much longer it may be served when its source fails.
    refresh_at: the fraction of the ttl after which a hit starts a refresh (None: never ahead).
    refresh_hits: how many hits memory must have counted of it by then, up to 255 (0: any will do).
    none_ttl: how long "there is nothing" is remembered (None: not at all).
    varies_by: the context parts that its key holds (None: all that are given).
    lookup: "nearest" also answers with a more general context's value, "exact" does not. "by_level"
        does where the more specific values are known not to be there: the loader is asked level
        by level, and absences are stored (for `none_ttl`, else as long as a value). None: "nearest"
        for the documented types and for what the documents' functions ask, else "exact".
    strict: an invalidation waits until no process's memory serves the old value, and none does
        while the shared tier is away. `get_many` gives values of one moment: all or none of what a
        cascade has reached.
    shared: hits get the one decoded object, which the caller promises not to change.
    sensitive: outside of this process it is encrypted, or not stored at all; that takes
        `Cache(encryption_keys=)`.
    durable: True: always in the database, too; False: never (None: by priority, and by what loading
        took, where a priority is said; else always).
    priority: what its values are stored as, unless a call says it (None: NORMAL): what eviction is
        to give up last.
    checkable: whether hits may be compared with their source (`self_check`). Say no where asking
        it is dear, or where it says something else each time, as a language model does (None: yes,
        but for `agent_response` and `model_answer`).
    prefetch: what is likely to be asked for next is loaded before anybody asks, once it is known
        what follows what. The loader of a `@cached` function is called for it with arguments of
        before (plain ones), outside of any request; other keys are moved up from the tiers below.
    loader: how a value of the type is loaded where no caller brings a loader: a function of its
        `Key`, async or plain, that needs no request.
    bulky_bytes: a value whose stored form is larger is counted and warned of (None: 1 MiB). Where
        this or bulky_ttl is said, it is fresh for bulky_ttl at most, too.
    codec: of the lists of floats of `embedding` and `vector_store`: "f32" halves their space and
        keeps a relative error of 6e-8, "f64" is exact. All else is exact anyway.
    sources: "required": what was made from nothing that is known is not stored (None: it is).
    version: 0..255, of the shape of the values; entries of another version are misses.
    type: what stored values are decoded to (a dataclass, a model, `set[int]`, ...).
    trial: another policy, tried beside this one on a share of the keys (an A/B test); what it does
        not say is as here. Which keys: always the same ones, in every process. `stats().trials` has
        both side by side.
    trial_share: that share, between 0 and 1.
    """

    error = InvalidPolicy
    prefix = "Policy."

    ttl: Duration | None = field(None, or_none(_lasting))
    max_ttl: Duration | None = field(None, or_none(_lasting))
    stale_for: Duration | None = field(None, or_none(_longer))
    stale_if_error: Duration | None = field(None, or_none(_longer))
    refresh_at: float | None = field(None, or_none(_fraction))
    refresh_hits: int = field(
        0, partial(arguments.integer, least=0, most=COUNTED, error=InvalidPolicy)
    )
    none_ttl: Duration | None = field(None, or_none(_lasting))
    varies_by: tuple[ContextPart, ...] | None = field(None, or_none(_parts))
    lookup: Lookup | None = field(None, or_none(_one_of(*get_args(Lookup))))
    strict: bool = field(False, _flag)
    shared: bool = field(False, _flag)
    sensitive: bool = field(False, _flag)
    durable: bool | None = field(None, or_none(_flag))
    priority: CachePriority | None = field(
        None, or_none(partial(priority_given, error=InvalidPolicy))
    )
    checkable: bool | None = field(None, or_none(_flag))
    prefetch: bool = field(False, _flag)
    loader: Callable[[Key], Any] | None = field(
        None, or_none(partial(arguments.function, accepted="a function of a Key"))
    )
    bulky_bytes: int | None = field(
        None, or_none(partial(arguments.integer, least=1, error=InvalidPolicy))
    )
    bulky_ttl: Duration = field(TTL_SHORT, _lasting)
    codec: Floats = field("f32", _one_of(*get_args(Floats)))
    sources: Literal["required"] | None = field(None, or_none(_one_of("required")))
    version: int = field(0, partial(arguments.integer, least=0, most=255, error=InvalidPolicy))
    type: Any = field(None, lambda given, what: given)  # the codecs check it
    trial: Policy | None = field(None, or_none(_tried))
    trial_share: float = field(0.5, _share)

    @property
    def variants(self) -> tuple[Policy, Policy]:
        """This policy and the one that is tried beside it, whole."""
        assert self.trial is not None
        said = {name: each for name, each in self.said.items() if not name.startswith("trial")}
        return self, Policy(**{**said, **self.trial.said})

    def _agree(self) -> None:
        if "trial_share" in self.said and self.trial is None:
            raise InvalidPolicy("Policy.trial_share is of a trial; pass it with trial=Policy(...)")

    def is_bulky(self, size: int) -> bool:
        """Whether a value of so many stored bytes is larger than it should be."""
        return size > (self.bulky_bytes or BULKY)

    @property
    def bulky_for(self) -> Duration | None:
        """How long a bulky value is fresh at most; None: as any other, as nobody has said a size
        for the type."""
        said = self.bulky_bytes is not None or "bulky_ttl" in self.said
        return self.bulky_ttl if said else None

    def lifetimes(self, ttl: Duration | None, default: float, size: int = 0) -> tuple[float, float]:
        """Seconds that a value of `size` bytes is fresh, and until it is gone; `inf` is never."""
        chosen = self.ttl if ttl is None else ttl
        fresh = default if chosen is None else seconds(chosen)
        if self.max_ttl is not None:
            fresh = min(fresh, seconds(self.max_ttl))
        if self.is_bulky(size) and (most := self.bulky_for) is not None:
            fresh = min(fresh, seconds(most))
        if not (self.stale_for or self.stale_if_error):
            return fresh, fresh
        return fresh, fresh + max(seconds(self.stale_for or 0), seconds(self.stale_if_error or 0))


OF_ALL_VALUES: Final = (
    "varies_by", "lookup", "strict", "durable", "sensitive", "version", "type", "trial",
)  # fmt: skip
"""What a policy says of all values of its type: where they are, what they are, who hears of them.
It is asked without an id, or decides whether a value that is stored already can be read."""


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
        lookup="nearest",
        varies_by=_VARIES_BY.get(data_type),
    )
    for data_type in {**DEFAULT_TTL_MAPPING, **AGENT_SERVICE_TTL_MAPPING}
}
"""The documented types: the ttl tables, and which context parts they depend on."""


MADE_BY_MODELS: Final = ("agent_response", "model_answer")
"""Types whose hits are not compared with their source unless a policy says so: to ask a model again
costs what the hit has saved, and it says something else."""


def is_checkable(data_type: str, policy: Policy) -> bool:
    """Whether hits of a type may be compared with their source."""
    if policy.checkable is None:
        return data_type not in MADE_BY_MODELS
    return policy.checkable


def with_built_in(data_type: str, policy: Policy) -> Policy:
    """`policy`, with the documented values of what it leaves open."""
    documented = BUILT_IN.get(data_type)
    if documented is None:
        return policy
    chosen = {name: value for name, value in policy.said.items() if value is not None}
    return Policy(**{**documented.said, **chosen})


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
    policy: Policy,
    tenant: str,
    data_type: str,
    scope: Scope,
    resource_id: str,
    *,
    nearest: bool = False,
) -> tuple[Key, ...]:
    """The keys that may answer, the one with all its context first.

    All but `exact` go on with those rows of the table whose parts are all given; a conversation
    alone is in no row, so its full key is followed by the key without context. `nearest`: what is
    meant where the policy says nothing.
    """
    if policy.varies_by is not None:
        scope = scope.only(policy.varies_by)
    scopes = [scope]
    lookup = policy.lookup or ("nearest" if nearest else "exact")
    if lookup != "exact" and scope.parts:
        given = {part for part, value in zip(CONTEXT_PARTS, scope, strict=True) if value}
        scopes += [scope.only(row) for row in _LOOKUP_TABLE if given.issuperset(row)]
    return tuple(Key(tenant, data_type, *kept, resource_id) for kept in dict.fromkeys(scopes))
