"""Which rows and answers there are, what they bear, and who may write them.

A ROW is one line of the truth; its number is its index there. An ANSWER is made of two rows of
one tenant, and must never be older than either. Everything follows from the number, so that all
processes agree without talking. Low numbers are hot, and every ten of them hold every sort.

Who may write what is a matter of what a cache can promise at all. If two processes write the truth
and then `set` without versions, the later write may be overtaken on its way to the cache, and no
cache can know. So a row is written in one of three ways:

- INVALIDATED: anybody writes the truth, then invalidates. Values come from loaders and fills.
- OWNED: one process writes the truth, then `set`s, one write at a time.
- VERSIONED: anybody writes the truth, then `set`s with `version=`.

The other two sorts are invalidated as well, by anybody, but without a new version.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from cascada.model.policy import CachePriority, Policy

ABSENT_EVERY: Final = 4
"""Each so many-th version of a `maybe` row says that there is nothing."""


class Writing(Enum):
    INVALIDATED = auto()
    OWNED = auto()
    VERSIONED = auto()


POLICIES: Final = {
    "doc": Policy(ttl=120, lookup="nearest"),
    "note": Policy(ttl=120, lookup="nearest"),
    "brief": Policy(ttl=0.5, stale_for=0.3, stale_if_error=3.0, lookup="nearest"),
    "ahead": Policy(ttl=2.0, refresh_at=0.3, lookup="nearest"),
    "maybe": Policy(ttl=120, none_ttl=60, lookup="nearest"),
    "config": Policy(ttl=120, varies_by=("agent",), lookup="nearest"),
    "owned": Policy(ttl=120, lookup="nearest"),
    "versioned": Policy(ttl=120, lookup="nearest"),
    "answer": Policy(ttl=120, lookup="nearest"),
    "claim": Policy(ttl=120, none_ttl=60),
}

PRIORITIES: Final = (None, *CachePriority)


def placed_policies(slot: int) -> dict[str, Policy]:
    """Those of the process in this slot, where values are placed: no two have the same. A third of
    the types is spared by every other process."""
    return {
        data_type: Policy(
            **{
                **policy.said,
                "priority": PRIORITIES[(slot + at) % len(PRIORITIES)],
                "durable": False if at % 3 == 0 and slot % 2 else (None, True)[(slot + at) % 2],
            }
        )
        for at, (data_type, policy) in enumerate(POLICIES.items())
    }


AHEAD: Final = ("doc", "note", "brief", "ahead", "maybe", "config")
"""Types that anybody's loader may bring: their rows are only invalidated."""

WALK: Final = 4
"""Rows of one walk."""

CLAIMS: Final = 40
"""Lines of the truth that are no rows (see `claims`)."""


@dataclass(frozen=True, slots=True)
class Context:
    """The context parts of a handle."""

    agent: str | None = None
    conversation: str | None = None


NOWHERE: Final = Context()


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `home` is the context that it is asked for in. `owner`: who may write an OWNED one.

    `roaming` rows are asked for in any context, and loaded into it. `visible` ones are only looked
    for in any context, so that it is always the value without context that answers.
    """

    number: int
    tenant: str
    data_type: str
    home: Context
    tags: tuple[str, ...]
    writing: Writing
    roaming: bool = False
    visible: bool = False

    @property
    def id(self) -> str:
        return f"r{self.number}"

    def owner(self, workers: int) -> int:
        return self.number // 10 % workers

    def absent_at(self, version: int) -> bool:
        return self.data_type == "maybe" and version % ABSENT_EVERY == 0

    def value(self, version: int) -> Any:
        """What the truth's row looks like at a version; strings stay decoded in memory."""
        if self.absent_at(version):
            return None
        if self.data_type == "note":
            return f"{self.number}/{version}"
        return {"row": self.number, "version": version}

    def version_of(self, value: Any) -> int:
        """The version in a value that was read; ValueError if it is another row's."""
        if isinstance(value, str):
            number, version = map(int, value.split("/"))
        else:
            number, version = value["row"], value["version"]
        if number != self.number:
            raise ValueError(f"row {self.number} was asked for, row {number} came")
        return version


@dataclass(frozen=True, slots=True)
class Answer:
    """A value made of two rows; `declared` names them as sources, else they are loaded."""

    number: int
    tenant: str
    sources: tuple[Row, Row]
    declared: bool

    @property
    def id(self) -> str:
        return f"a{self.number}"


@dataclass(frozen=True, slots=True)
class Group:
    """What one invalidation names, by the arguments of `Tenant.invalidate`, and whom it covers."""

    tenant: str
    arguments: dict[str, Any]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return f"{self.tenant}({self.arguments})"


class Keyspace:
    """`rows` rows, a quarter as many answers, and the groups that they form.

    `only`: the types of the rows that are picked one by one (none: all).
    """

    def __init__(self, rows: int, only: tuple[str, ...] = ()) -> None:
        self.rows = [_row(number) for number in range(rows)]
        self.claims = range(rows, rows + CLAIMS)
        self._picked = [row for row in self.rows if not only or row.data_type in only]
        self.tenants = sorted({row.tenant for row in self.rows})
        self.answers = [
            answer for number in range(rows // 4) if (answer := self._answer(number)) is not None
        ]
        self.groups = [*self._tags(), *self._types(), *self._parts()]
        self.everything = [
            Group(tenant, {}, tuple(row for row in self.rows if row.tenant == tenant))
            for tenant in self.tenants
        ]

    def pick(self, rng: random.Random) -> Row:
        return self._picked[_skewed(rng, len(self._picked))]

    def pick_answer(self, rng: random.Random) -> Answer:
        return self.answers[_skewed(rng, len(self.answers))]

    def pick_walk(self, rng: random.Random) -> list[Row]:
        """Rows that are asked for one after the other, always the same ones."""
        return self.walk_from(self.pick(rng))

    def walk_from(self, first: Row) -> list[Row]:
        """The walk that a row is part of."""
        own = [row for row in self.rows if row.tenant == first.tenant and row.home == NOWHERE]
        at = own.index(first) // WALK * WALK if first in own else 0
        return own[at : at + WALK]

    def pick_batch(self, rng: random.Random) -> list[Row]:
        """Rows that one `get_many` may ask for: of one tenant, type and context."""
        first = self.pick(rng)
        alike = [
            row
            for row in self.rows
            if (row.tenant, row.data_type, row.home) == (first.tenant, first.data_type, first.home)
        ]
        return rng.sample(alike, min(len(alike), rng.randint(2, 6)))

    def context_for(self, row: Row, rng: random.Random, *, looking: bool) -> Context:
        if not (row.roaming or (row.visible and looking)) or rng.random() < 0.5:
            return row.home
        agent = f"roam{rng.randrange(3)}"
        return Context(agent, "talk" if rng.random() < 0.3 else None)

    def _answer(self, number: int) -> Answer | None:
        rng = random.Random(number)
        tenant = self.tenants[number % len(self.tenants)]
        own = [row for row in self.rows if row.tenant == tenant]
        declared = number % 3 == 0
        if declared:
            # A declared source reaches the resource without its context and without its tags.
            own = [row for row in own if row.home == NOWHERE and not row.tags and not row.roaming]
        if len(own) < 2:
            return None
        first, second = own[_skewed(rng, len(own))], own[_skewed(rng, len(own))]
        return Answer(number, tenant, (first, second), declared)

    def _tags(self) -> list[Group]:
        return [
            Group(tenant, {"tag": tag}, members)
            for tenant in self.tenants
            for tag in sorted({tag for row in self.rows for tag in row.tags})
            if (members := tuple(r for r in self.rows if r.tenant == tenant and tag in r.tags))
        ]

    def _types(self) -> list[Group]:
        return [
            Group(tenant, {"data_type": data_type, "resource_id": "*"}, members)
            for tenant in self.tenants
            for data_type in POLICIES
            if (
                members := tuple(
                    r for r in self.rows if r.tenant == tenant and r.data_type == data_type
                )
            )
        ]

    def _parts(self) -> list[Group]:
        found: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            for part in ("agent", "conversation"):
                if (which := getattr(row.home, part)) is not None:
                    found.setdefault((row.tenant, part, which), []).append(row)
        return [
            Group(tenant, {part: which}, tuple(members))
            for (tenant, part, which), members in found.items()
        ]


def _row(number: int) -> Row:
    ten, sort = divmod(number, 10)
    tenant = f"tenant{ten % 2}"
    tags = (f"tag{ten // 2 % 4}",)
    agent = Context(f"agent{ten // 2 % 3}")
    talk = Context(f"agent{ten // 2 % 3}", f"talk{ten // 2 % 2}")
    invalidated = Writing.INVALIDATED
    match sort:
        case 0:
            return Row(number, tenant, "doc", NOWHERE, (), invalidated, roaming=True)
        case 1:
            return Row(number, tenant, "doc", NOWHERE, (), invalidated)
        case 2:
            return Row(number, tenant, "brief", agent, tags, invalidated)
        case 3:
            data_type = "ahead" if ten % 4 < 2 else "note"
            return Row(number, tenant, data_type, NOWHERE, tags, invalidated)
        case 4:
            return Row(number, tenant, "maybe", NOWHERE, (*tags, "all"), invalidated)
        case 5:
            return Row(number, tenant, "config", talk, (), invalidated)
        case 6:
            return Row(number, tenant, "owned", NOWHERE, (), Writing.OWNED, visible=True)
        case 7:
            return Row(number, tenant, "owned", talk, tags, Writing.OWNED)
        case 8:
            return Row(number, tenant, "versioned", NOWHERE, (), Writing.VERSIONED)
        case _:
            return Row(number, tenant, "versioned", agent, tags, Writing.VERSIONED)


def _skewed(rng: random.Random, size: int) -> int:
    return int(size * rng.random() ** 2)
