"""The source of truth that the machines compare the tiers with, and the world's few keys.

Every name has a version, which is raised when what it stands for changes. A load remembers the
versions that it saw; when an invalidation (or a set) has returned, the versions of its names are
ENDED: from then on no read may give a value of a load that saw an older one. That is the whole
promise, and `judge` is its only place.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cascada.model.keys import Key
from cascada.model.names import key_name, static_names, tag_name
from cascada.tiers.contract import Lease

KEYS = (
    Key("acme", "doc", None, None, None, "a"),
    Key("acme", "doc", "a1", "c1", None, "a"),
    Key("beta", "doc", None, None, None, "a"),
)
DYNAMIC = {
    "acme": (tag_name("acme", "x"), tag_name("acme", "y"), key_name(KEYS[0])),
    "beta": (tag_name("beta", "x"),),
}
NAMES = {
    tenant: tuple(
        dict.fromkeys(
            [
                *DYNAMIC[tenant],
                *(n for key in KEYS if key.tenant == tenant for n in static_names(key)),
            ]
        )
    )
    for tenant in ("acme", "beta")
}


@dataclass(eq=False)
class Load:
    """One value on its way from the source into a tier, and all that must hold of it."""

    number: int
    key: Key
    saw: dict[str, int]  # the versions of all names when it read the source
    step: int
    told: int  # names invalidated before
    lease: Lease | None = None
    which: int = 0  # the node that holds the lease
    names: tuple[str, ...] = ()
    version: int | None = None
    fresh_until: float = math.inf
    expires: float = math.inf

    @property
    def bears(self) -> tuple[str, ...]:
        return (*static_names(self.key), *self.names)


@dataclass
class Truth:
    """`memory` is how many names a tier remembers at least; after more, it may refuse fills."""

    memory: int
    step: int = 0
    told: int = 0
    forgot: int = 0  # the step of the latest flush
    now: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ended: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    named: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    busy: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    touched: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    seq: dict[str, int] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    kept: dict[Key, Load] = field(default_factory=dict)

    def begin(self, key: Key, as_of: Load | None = None) -> Load:
        """A load reads the source at this moment, or did so when `as_of` did."""
        load = Load(len(self.loads), key, dict(self.now), self.step, self.told)
        if as_of is not None:
            load.saw, load.step, load.told = as_of.saw, as_of.step, as_of.told
        self.loads.append(load)
        return load

    def write(self, names: Iterable[str]) -> None:
        """What the names stand for changes; nobody has been told yet."""
        for name in names:
            self.now[name] += 1

    def end(self, names: Sequence[str], versions: dict[str, int] | None = None) -> None:
        """An invalidation (or a set that had seen `versions`) has returned."""
        versions = self.now if versions is None else versions
        self.told += len(set(names))
        for name in names:
            self.ended[name] = max(self.ended[name], versions.get(name, 0))
            self.named[name] = self.step
        for key, load in list(self.kept.items()):
            if set(names) & set(load.bears):
                del self.kept[key]

    def forget(self) -> None:
        """The tier has dropped all that it held (a flush)."""
        self.forgot = self.step
        self.kept.clear()

    def outdated(self, load: Load, ended: Mapping[str, int] | None = None) -> list[str]:
        """The names of which the load saw an older version than has ended."""
        ended = self.ended if ended is None else ended
        return [name for name in load.bears if load.saw.get(name, 0) < ended.get(name, 0)]

    def must_accept(self, load: Load) -> bool:
        """Whether nothing has happened since that could be a reason to refuse the load's value."""
        return (
            all(self.named[name] <= load.step for name in load.bears)
            and self.busy[load.key] <= load.step
            and not self.has_old_life(load)
            and self.forgot <= load.step
            and self.told - load.told < self.memory
        )

    def has_old_life(self, load: Load) -> bool:
        """Whether its key was touched since, and it is no set."""
        by_set = load.lease is not None and load.lease.forced
        return not by_set and self.touched[load.key] > load.step

    def judge(
        self, number: int, key: Key, wall: float, ended: Mapping[str, int] | None = None
    ) -> Load:
        """The load whose value was found for `key`, which must be one that may be found now."""
        load = self.loads[number]
        assert load.key == key, f"{key} answered with the value of {load.key}"
        assert wall < load.expires, "EXPIRED"
        old = self.outdated(load, ended)
        assert not old, f"STALE: {key} found with a value from before {old} was invalidated"
        return load
