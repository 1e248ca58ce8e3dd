"""What the engine knows of one data type of one tenant: its policy and its counters.

Records point to their kind, so that a hit counts with one addition to it and decodes without a
look-up. Only so many kinds are made; the tenants beyond share one for each type, whose tenant is
called `other`. Of those there are only so many, too, beside the types that have a policy: the types
beyond share one that is called `other` itself. So neither memory nor metric labels grow with the
number of tenants or types, whatever callers make up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import chain
from threading import RLock
from typing import Any, Final

from cascada.model.bills.bill import count_of
from cascada.model.entry import MEMORY
from cascada.model.keys import Prefix
from cascada.model.policy import BUILT_IN, Policy, with_built_in
from cascada.model.ttl import seconds

MAX_KINDS: Final = 10_000
MAX_SHARED: Final = 1000
OTHER: Final = "other"

REFRESHED_AHEAD: Final = {"refresh_at": 0.8, "refresh_hits": 3}
"""What a policy says with the strategy REFRESH_AHEAD that says nothing of it: in the last fifth of
its life the hit of a hot value, its third one at least, starts a refresh."""


_NONE: Final[dict[str, int]] = {}
VARIANTS: Final = "a", "b"
"""What the policy of a type and the one that is tried beside it are called."""
NOWHERE: Final[list[float]] = [0]
"""The `cells` of a kind whose hits are written nowhere else."""


class Counters:
    """Counts since the start of the process; seconds are sums. Hits in memory are `l1` and,
    read by other threads, `elsewhere`, and those `below` it by the tier's name. `answer_seconds`:
    how long all other reads have waited for their answers.

    Hits that were compared with their source: `checked`, and how many of those `differed` at once,
    after 1 s, after 10 s; `unchecked` are those whose source did not say. Hits whose source was
    timed, too, as in mode observe: `timed_hits`, `timed_seconds`. What was given to the tiers to
    store: `stored` values of `stored_bytes`, `bulky` of them. Loaded values that only their callers
    had: `oversized`, `unstorable` (no exact form), `unfit` (for what they were made from). What a
    tier had no room for: `no_room`. What was `prefetch_fetched`: it was `used` before it went, or
    `wasted`; some of these have `failed`.

    Sums of what loads took and cost (`bills.bill`): what hits have saved `in_memory` (the sum says
    how many they are: `l1`), those of other threads (`saved_elsewhere`), and those below
    (`saved_below`); what of all these streams have that were `replayed` from a tier; what reads
    have that `shared` another caller's load; and what was `spent` by all that sources were asked
    for.
    """

    __slots__ = (
        "answer_seconds", "below", "bulky", "checked", "coalesced", "corrupt", "differed",
        "differed_1s", "differed_10s", "elsewhere", "in_memory", "load_failures", "load_seconds",
        "loads", "misses", "no_room", "oversized", "prefetch_failed", "prefetch_fetched",
        "prefetch_used", "prefetch_wasted", "refused", "replayed", "saved_below",
        "saved_elsewhere", "shared", "spent", "stale", "stored", "stored_bytes", "timed_hits",
        "timed_seconds", "unchecked", "unfit", "unstorable",
    )  # fmt: skip

    def __init__(self) -> None:
        self.in_memory = self.elsewhere = 0
        self.below = _NONE
        self.misses = self.coalesced = self.stale = 0
        self.loads = self.load_failures = self.refused = self.corrupt = 0
        self.checked = self.unchecked = 0
        self.differed = self.differed_1s = self.differed_10s = 0
        self.stored = self.stored_bytes = self.bulky = 0
        self.oversized = self.unstorable = self.unfit = self.no_room = 0
        self.prefetch_fetched = self.prefetch_used = 0
        self.prefetch_wasted = self.prefetch_failed = 0
        self.timed_hits = 0
        self.saved_below = self.saved_elsewhere = self.replayed = self.shared = self.spent = 0
        self.answer_seconds = self.load_seconds = self.timed_seconds = 0.0

    @property
    def l1(self) -> int:
        return count_of(self.in_memory)

    @property
    def hits(self) -> int:
        return self.l1 + self.elsewhere + sum(self.below.values())

    @property
    def by_tier(self) -> dict[str, int]:
        """Hits, by the name of the tier that answered."""
        return {MEMORY: self.l1 + self.elsewhere, **self.below}

    @property
    def bills(self) -> tuple[int, int, int, int]:
        """What hits have saved, what replays have of that, what sharing has, and what was spent."""
        saved = self.in_memory + self.saved_below + self.saved_elsewhere
        return saved, self.replayed, self.shared, self.spent

    def hit_below(self, tier: str) -> None:
        """A tier below memory has answered."""
        try:
            self.below[tier] += 1
        except KeyError:  # its first, so that not each of many kinds has a dictionary of its own
            self.below = {**self.below, tier: 1}


class Kind(Counters):
    """One data type of one tenant, and its counts. `told`: of `l1`, what observers know of.

    `arms`: while another policy is tried beside its own, a kind for the values of each, which is
    the `variant` of its type. Then nothing counts here.
    `cells`: who adds to `in_memory` writes it into the first one, too. It is what other processes
    see (`engine/filing.py`), or NOWHERE.
    """

    __slots__ = (
        "arms", "cells", "data_type", "policy", "tenant", "told", "variant", "vectors",
    )  # fmt: skip

    def __init__(self, tenant: str, data_type: str, policy: Policy, variant: str = "") -> None:
        super().__init__()
        self.arms: tuple[Kind, Kind] | None = None
        self.variant = variant
        self.tenant = tenant
        self.data_type = data_type
        self.policy = policy
        self.told = 0
        self.cells: Any = NOWHERE
        self.vectors = data_type in ("embedding", "vector_store")

    @property
    def learns(self) -> bool:
        """Whether something of a batch, of which this is the kind of one, may be brought ahead:
        while a policy is on trial, each of its values has another one to say that."""
        return self.policy.prefetch or self.variant != ""

    def of(self, tenant: str, resource_id: str) -> Kind:
        """The kind of one value of it: itself, unless a policy is on trial."""
        arms = self.arms
        if arms is None:
            return self
        return arms[is_tried(tenant, self.data_type, resource_id, self.policy.trial_share)]


def is_tried(tenant: str, data_type: str, resource_id: str, share: float) -> bool:
    """Whether a value is of the share on which a policy is tried: by its names alone, so that it is
    the same in every process, after every restart, in whatever context."""
    key = "\n".join((str(len(tenant)), tenant, str(len(data_type)), data_type, resource_id))
    hashed = blake2b(key.encode("utf-8"), digest_size=8, key=b"cascada trial").digest()
    return int.from_bytes(hashed) < share * 2**64


class Kinds:
    """All kinds of one cache, made when they are first met."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        default: Policy,
        default_ttl: float,
        *,
        refreshes_ahead: bool = False,
    ) -> None:
        """`refreshes_ahead`: hot values of types that say nothing of it, too."""
        self._refreshes_ahead = refreshes_ahead
        self._policies = {
            name: self._chosen(name, given) for name, given in {**BUILT_IN, **policies}.items()
        }
        self._default = self._chosen("", default)
        self._never_durable = frozenset(
            name for name, policy in self._policies.items() if policy.durable is False
        )
        self.default_ttl = default_ttl
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._shared: dict[str, Kind] = {}
        self._rest: Kind | None = None
        # Also of trials that have ended: what was counted stays.
        self._arms: dict[Kind, tuple[Kind, Kind]] = {}
        self.on_new: Callable[[Kind], None] | None = None
        # Other threads may meet a type at the same time; they count while they hold it, too.
        self.lock = RLock()

    def after_fork(self) -> None:
        """Another thread of the parent's may have held the lock."""
        self.lock = RLock()

    def of(self, tenant: str, data_type: str) -> Kind:
        """The kind of a type of a tenant; beyond MAX_KINDS one that others share."""
        kind = self._kinds.get((tenant, data_type))
        if kind is None:
            with self.lock:
                kind = self._made(tenant, data_type)
        return kind

    def _made(self, tenant: str, data_type: str) -> Kind:
        kind = self._kinds.get((tenant, data_type))
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                return self._shared_by_tenants(data_type)
            kind = self._new(tenant, data_type, self._policies.get(data_type, self._default))
            self._kinds[tenant, data_type] = kind
        return kind

    def _shared_by_tenants(self, data_type: str) -> Kind:
        kind = self._shared.get(data_type)
        if kind is None:
            policy = self._policies.get(data_type)
            if policy is None and len(self._shared) >= MAX_SHARED:
                # Nobody has said how it is cached, so that it is cached like all such types.
                if self._rest is None:
                    self._rest = self._new(OTHER, OTHER, self._default)
                return self._rest
            kind = self._new(OTHER, data_type, policy or self._default)
            self._shared[data_type] = kind
        return kind

    def _new(self, tenant: str, data_type: str, policy: Policy) -> Kind:
        kind = self._counted(Kind(tenant, data_type, policy))
        self._try(kind)
        return kind

    def _counted(self, kind: Kind) -> Kind:
        if self.on_new is not None:
            self.on_new(kind)
        return kind

    def _try(self, kind: Kind) -> None:
        """Begin or end the trial that its policy asks for."""
        if kind.policy.trial is None:
            kind.arms = None
            return
        arms = self._arms.get(kind)
        if arms is None:
            a, b = (
                self._counted(Kind(kind.tenant, kind.data_type, kind.policy, name))
                for name in VARIANTS
            )
            arms = self._arms[kind] = a, b
        for arm, policy in zip(arms, kind.policy.variants, strict=True):
            arm.policy = self._chosen(kind.data_type, policy)
        kind.arms = arms

    def of_key(self, kind: Kind, tenant: str, resource_id: str) -> Kind:
        """As which kind memory keeps a value of a partition's kind."""
        return kind if kind.arms is None else kind.of(tenant, resource_id)

    def of_prefix(self, prefix: Prefix) -> Kind:
        return self.of(prefix[0], prefix[1])

    def all(self) -> list[Kind]:
        rest = () if self._rest is None else (self._rest,)
        arms = chain.from_iterable(self._arms.values())
        return [*self._kinds.values(), *self._shared.values(), *rest, *arms]

    @property
    def never_durable(self) -> frozenset[str]:
        """The types that were said from the beginning to be kept out of the database."""
        return self._never_durable

    @property
    def strict(self) -> bool:
        """Whether some type's invalidations wait for all processes."""
        return self._default.strict or any(policy.strict for policy in self._policies.values())

    def policy(self, data_type: str) -> Policy:
        """How a type is cached now."""
        return self._policies.get(data_type, self._default)

    def _chosen(self, data_type: str, given: Policy) -> Policy:
        """A policy with what it leaves open."""
        if self._refreshes_ahead and "refresh_at" not in given.said:
            given = Policy(**{**REFRESHED_AHEAD, **given.said})
        return with_built_in(data_type, given)

    def set_policy(self, data_type: str, policy: Policy) -> None:
        """Give a type its policy, before or after it was first met (what is stored stays)."""
        chosen = self._chosen(data_type, policy)
        # Or a kind that another thread makes just now would keep the old one for good.
        with self.lock:
            self._policies[data_type] = chosen
            for kind in (*self._kinds.values(), *self._shared.values()):
                if kind.data_type == data_type:
                    kind.policy = chosen
                    self._try(kind)


def stale_window(policy: Policy) -> float:
    """Seconds past its ttl in which a value may be served while it is refreshed."""
    return seconds(policy.stale_for) if policy.stale_for else 0.0
