"""A tier (or several handles of one) against the source of truth, in any order of calls.

Hypothesis draws the order. Calls never overlap, which is no loss: each call of these tiers is one
atomic step, and whatever can happen between a read, its lease, the load and its fill is a rule.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import compress

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    rule,
)

from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.testing.clock import ManualClock
from cascada.tiers.contract import Found, Lease, Missing, Tier
from tests.properties.truth import DYNAMIC, KEYS, NAMES, Load, Truth

LIVES = ((None, None), (4.0, 10.0), (20.0, 40.0))  # seconds until stale, and until expired
PAUSES = (0.5, 4.0, 11.0)

keys = st.sampled_from(KEYS)
which_node = st.integers(0, 1)
Seen = tuple[Key, Found | Missing, Load]


invalidations = st.one_of(
    st.sampled_from(DYNAMIC["acme"]).map(lambda name: (name,)),
    st.lists(st.sampled_from(NAMES["acme"]), min_size=1, max_size=2).map(tuple),
    st.lists(st.sampled_from(NAMES["beta"]), min_size=1, max_size=2).map(tuple),
)
"""Names to invalidate in one step, all of one tenant."""

Bears = tuple[bool, ...]
bears = st.tuples(st.booleans(), st.booleans(), st.booleans())
lives = st.sampled_from(LIVES)
troubles = st.sampled_from((*PAUSES, "own", "write", "rival", "rival set", "touch"))
disturbances = st.lists(st.one_of(invalidations, troubles), max_size=3)
"""What happens in the middle of a load: invalidations, time, the row changes and nobody is told,
another load or set of the key overtakes, it is touched, and what a world knows of its own."""


class TierMachine(RuleBasedStateMachine):
    """`open_world` makes the tiers: `nodes` are handles of one store, each as of its own process.

    `roomy`: nothing is evicted, so that what was accepted must be found until something ends it.
    `forgetful`: as little as possible is remembered of invalidations.
    """

    seen = Bundle("seen")
    loads = Bundle("loads")

    nodes: Sequence[Tier] = ()
    roomy = False
    truth: Truth

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.run = self.runner.run

    async def open_world(self, *, roomy: bool, forgetful: bool) -> int:
        """Make `nodes`; returns how many names they remember at least."""
        raise NotImplementedError

    @initialize(roomy=st.booleans(), forgetful=st.booleans())
    def begin(self, roomy: bool, forgetful: bool) -> None:
        self.roomy = roomy
        self.truth = Truth(self.run(self.open_world(roomy=roomy, forgetful=forgetful)))

    def teardown(self) -> None:
        for node in self.nodes:
            self.run(node.aclose())
        self.runner.close()

    def node(self, which: int) -> Tier:
        """The tier of a step. Between any two steps time passes, so that no two uses are a tie."""
        self.truth.step += 1
        self.clock.advance(0.0001)
        return self.nodes[which % len(self.nodes)]

    # --- reading ------------------------------------------------------------------------------

    @rule(target=seen, which=which_node, key=keys)
    def read(self, which: int, key: Key) -> Seen:
        (answer,) = self.run(self.node(which).read([key]))
        self.check(key, answer)
        return key, answer, self.truth.begin(key)

    @rule(which=which_node)
    def read_all(self, which: int) -> None:
        answers = self.run(self.node(which).read(KEYS))
        for key, answer in zip(KEYS, answers, strict=True):
            self.check(key, answer)

    def check(self, key: Key, answer: Found | Missing) -> None:
        load = None
        if isinstance(answer, Found):
            load = self.truth.judge(int(answer.entry.data), key, self.clock.time())
            assert answer.entry.names == load.names
        assert answer.seq >= self.truth.seq.get(key.tenant, 0), "a number from before"
        kept = self.truth.kept.get(key)
        if self.roomy and kept is not None and self.clock.time() < kept.expires:
            assert load is kept, f"LOST: {key} was accepted and is not found"

    # --- loading ------------------------------------------------------------------------------

    @rule(target=loads, which=which_node, key=keys)
    def lease(self, which: int, key: Key) -> Load:
        return self.granted(which, self.lease_of(which, key, None, force=False), None)

    @rule(target=loads, which=which_node, seen=seen)
    def lease_as_of(self, which: int, seen: Seen) -> Load:
        key, answer, load = seen
        return self.granted(which, self.lease_of(which, key, answer, force=False), load)

    @rule(target=loads, which=which_node, key=keys)
    def begin_set(self, which: int, key: Key) -> Load:
        self.truth.write([key_name(key)])
        return self.granted(which, self.lease_of(which, key, None, force=True), None)

    @rule(target=loads, which=which_node, seen=seen)
    def begin_set_after_miss(self, which: int, seen: Seen) -> Load:
        key, answer, load = seen
        return self.granted(which, self.lease_of(which, key, answer, force=True), load)

    def lease_of(
        self, which: int, key: Key, answer: Found | Missing | None, *, force: bool
    ) -> Lease:
        (lease,) = self.run(self.node(which).lease([key], [answer], force=force))
        assert isinstance(lease, Lease), "nobody else may hold it: these tiers have no Busy"
        if force:
            self.truth.busy[key] = self.truth.step
        return lease

    def granted(self, which: int, lease: Lease, as_of: Load | None) -> Load:
        load = self.truth.begin(lease.key, as_of)
        load.lease, load.which = lease, which
        return load

    @rule(load=consumes(loads), bears=bears, life=lives, versioned=st.booleans())
    def fill(
        self, load: Load, bears: Bears, life: tuple[float | None, float | None], versioned: bool
    ) -> None:
        assert load.lease is not None
        truth, key, wall = self.truth, load.key, self.clock.time()
        fresh, whole = (math.inf if seconds is None else wall + seconds for seconds in life)
        load.names = tuple(compress(DYNAMIC[key.tenant], bears))
        load.fresh_until, load.expires = fresh, whole
        load.version = load.saw.get(key_name(key), 0) if versioned else None
        entry = Entry(b"%d" % load.number, 1, 0, wall, fresh, whole, load.names, load.version)
        node, must = self.node(load.which), truth.must_accept(load)
        (filled,) = self.run(node.fill([load.lease], [entry]))
        assert not (filled.accepted and truth.outdated(load)), "an outdated value was accepted"
        assert not (filled.accepted and truth.has_old_life(load)), "an old life was let in"
        assert filled.accepted or not must, "REFUSED without a reason"
        kept = truth.kept.get(key)
        if self.roomy and filled.accepted and kept is not None and wall < kept.expires:
            newer = None not in (load.version, kept.version) and kept.version > load.version
            assert not newer, "an older version replaced a newer one"
        if load.lease.forced:
            truth.end([key_name(key)], load.saw)
        if filled.accepted:
            truth.seq[key.tenant] = max(truth.seq.get(key.tenant, 0), filled.seq)
            truth.kept[key] = load
            truth.busy[key] = truth.step

    @rule(
        which=which_node,
        key=keys,
        force=st.booleans(),
        from_read=st.booleans(),
        before=disturbances,
        during=disturbances,
        bears=bears,
        life=lives,
        versioned=st.booleans(),
    )
    def disturbed_load(
        self,
        which: int,
        key: Key,
        force: bool,
        from_read: bool,
        before: list[object],
        during: list[object],
        bears: Bears,
        life: tuple[float | None, float | None],
        versioned: bool,
    ) -> None:
        """The rules above in the order in which trouble is likeliest, else found too seldom."""
        answer = load = None
        if from_read:
            _, answer, load = self.read(which, key)
            self.disturb(which + 1, key, before)
        if force:
            self.truth.write([key_name(key)] if load is None else ())
        lease = self.lease_of(which, key, answer, force=force)
        load = self.granted(which, lease, load)
        self.disturb(which + 1, key, during)
        self.fill(load, bears, life, versioned)
        self.look_closely(key)

    def disturb(self, which: int, key: Key, disturbances: list[object]) -> None:
        for each in disturbances:
            match each:
                case tuple():
                    self.invalidate(which, each)
                case float():
                    self.clock.advance(each)
                case "write":
                    self.truth.write([key_name(key)])
                case "touch":
                    self.touch(which, key, LIVES[1], below=False)
                case "rival" | "rival set":
                    lease = self.lease_of(which, key, None, force=each == "rival set")
                    rival = self.granted(which, lease, None)
                    self.fill(rival, (True, False, False), (None, None), True)
                case _:
                    self.own_trouble(which)

    def own_trouble(self, which: int) -> None:
        """What else may happen to such a tier in the middle of a load."""

    def look_closely(self, key: Key) -> None:
        """Read what was just filled, by all ways there are."""
        for which in range(len(self.nodes)):
            self.read(which, key)

    @rule(load=consumes(loads))
    def release(self, load: Load) -> None:
        assert load.lease is not None
        node, must = self.node(load.which), self.truth.must_accept(load)
        (filled,) = self.run(node.fill([load.lease], [None]))
        assert not (filled.accepted and self.truth.outdated(load)), "a void lease was called good"
        assert filled.accepted or not must, "REFUSED without a reason"

    @rule(load=loads)
    def renew(self, load: Load) -> None:
        assert load.lease is not None
        self.run(self.node(load.which).renew([load.lease]))

    # --- what ends values ---------------------------------------------------------------------

    @rule(which=which_node, names=invalidations)
    def invalidate(self, which: int, names: tuple[str, ...]) -> None:
        node, truth = self.node(which), self.truth
        truth.write(names)
        ended = sum(
            bool(set(names) & set(load.bears)) and self.clock.time() < load.expires
            for load in truth.kept.values()
        )
        done = self.run(node.invalidate(names))
        assert not self.roomy or done.keys >= ended, "fewer were counted than went"
        truth.end(names)
        tenant = names[0].split(":")[1]
        assert done.seq > truth.seq.get(tenant, 0)
        truth.seq[tenant] = done.seq

    # --- what gives them another life ---------------------------------------------------------

    @rule(which=which_node, key=keys, life=lives, below=st.booleans())
    def touch(
        self, which: int, key: Key, life: tuple[float | None, float | None], below: bool
    ) -> None:
        node, truth, wall = self.node(which), self.truth, self.clock.time()
        fresh, whole = (math.inf if seconds is None else wall + seconds for seconds in life)
        told = self.run(
            node.touch(key, lambda entry, size: entry.lasting(fresh, whole), below=below)
        )
        load, kept = None, truth.kept.get(key)
        if told.entry is not None:
            load = truth.judge(int(told.entry.data), key, wall)
        if self.roomy and kept is not None and wall < kept.expires:
            assert load is kept, f"LOST: {key} was accepted and is not touched"
        if load is not None:
            load.fresh_until, load.expires = fresh, whole
        if load is not None or below:
            truth.touched[key] = truth.step
            truth.told += 1
            assert told.seq > truth.seq.get(key.tenant, 0)
            truth.seq[key.tenant] = told.seq

    @rule(key=keys)
    def write_without_telling(self, key: Key) -> None:
        self.truth.write([key_name(key)])

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
