"""What other workers have counted, made from the rows of their ledgers, and what those rows are.

`filing.py` writes such rows; a page of metrics adds up what it has counted itself and these.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cascada.engine.kinds import Counters, Kind
from cascada.model.bills.bill import FIELDS, UNKNOWN, count_in, together
from cascada.model.policy import Policy
from cascada.telemetry.custom import Series
from cascada.telemetry.latency import BOUNDS, NO_TIMES, REST, Times
from cascada.tiers.contract import Usage

if TYPE_CHECKING:
    from cascada.telemetry.ledger import Columns, Numbers

_SUMS: Final = ("saved_below", "saved_elsewhere", "replayed", "shared", "spent")
_BILLS: Final = ("saved", "replayed", "shared", "spent")
"""What is on file of these: as `Kind.bills` has it."""

COUNTERS: Final = (
    "in_memory",  # whoever counts a hit in memory writes it by this place
    *sorted(set(Counters.__slots__) - {"below", "in_memory", *_SUMS}),
)
_WHOLE: Final = {name for name in COUNTERS if isinstance(getattr(Counters(), name), int)}
_OF_BILLS: Final = [f"{name} {part}" for name in _BILLS for part in FIELDS]
_NO_POLICY: Final = Policy()
_USAGE: Final = Usage.__struct_fields__


@dataclass(slots=True)
class Others:
    """What the other workers, dead or alive, have counted.

    workers: how many live, this one too. group: what tells them from others; "" for one alone.
    latencies: by layer and data type; rounds: of the sync, by service. memory: what the live ones
    hold in memory, together; held: the bytes of it, by the types of services. up: by tier, for how
    many it is up.
    """

    workers: int = 1
    group: str = ""
    kinds: list[Kind] = field(default_factory=list)
    latencies: dict[tuple[str, str], Times] = field(default_factory=dict)
    rounds: dict[str, Times] = field(default_factory=dict)
    named: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    series: list[Series] = field(default_factory=list)
    memory: Usage | None = None
    held: Counter[str] = field(default_factory=Counter)
    up: Counter[str] = field(default_factory=Counter)


def columns_of(tiers: Sequence[str]) -> Columns:
    """What the rows of a cache with these lower tiers hold."""
    return {
        "type": [*COUNTERS, *(f"below {name}" for name in tiers), *_OF_BILLS],
        "latency": [*map(str, range(len(BOUNDS) + 1)), "seconds"],
        "series": ["count", "total"],
        "named": ["count"],
        "rounds": [*map(str, range(len(BOUNDS) + 1)), "seconds"],
        "memory": _USAGE,
        "held": ["bytes"],
        "up": ["up"],
    }


def others_of(live: Numbers, dead: Numbers, tiers: Sequence[str]) -> Others:
    from cascada.telemetry.ledger import add  # where there are files, there are their locks

    found = Others()
    held = live.get(("memory",), [0.0] * len(_USAGE))
    # What the dead held is gone, but not that they have evicted.
    evicted = dead.get(("memory",), [0.0])[-1]
    found.memory = Usage(*map(int, [*held[:-1], held[-1] + evicted]))
    found.up.update({key[1]: int(row[0]) for key, row in live.items() if key[0] == "up"})
    found.held.update({key[1]: int(row[0]) for key, row in live.items() if key[0] == "held"})
    add(live, dead)
    for key, row in live.items():
        if key[0] == "type":
            found.kinds.append(_kind(key[1:], row, tiers))
        elif key[0] == "latency":
            # An older version had one for each layer alone.
            layer, data_type = (*key[1:], REST)[:2]
            *counts, seconds = row
            before = found.latencies.get((layer, data_type), NO_TIMES)
            found.latencies[layer, data_type] = before + Times(tuple(map(int, counts)), seconds)
        elif key[0] == "rounds":
            *counts, seconds = row
            found.rounds[key[2]] = Times(tuple(map(int, counts)), seconds)
        elif key[0] == "series":
            found.series.append(Series(key[1], key[2], key[3], int(row[0]), row[1]))
        elif key[0] == "named":
            found.named[key[1]][key[2]] = int(row[0])
    return found


def _kind(whose: Sequence[str], row: list[float], tiers: Sequence[str]) -> Kind:
    """`whose`: a tenant, a data type, and perhaps its variant."""
    tenant, data_type, *variant = whose
    kind = Kind(tenant, data_type, _NO_POLICY, *variant)
    for name, number in zip(COUNTERS, row, strict=False):
        setattr(kind, name, int(number) if name in _WHOLE else number)
    at = len(COUNTERS)
    kind.below = {name: int(count) for name, count in zip(tiers, row[at:], strict=False) if count}
    at += len(tiers)
    # All but how many has been rounded away there; what it was is with the bills.
    kind.in_memory = count_in(row[0]) * UNKNOWN
    bills = [0] * len(_BILLS)
    for place in range(len(_BILLS)):
        first = at + place * len(FIELDS)
        bill = row[first : first + len(FIELDS)]
        if any(bill):
            bills[place] = together(dict(zip(FIELDS, bill, strict=True)))
    saved, kind.replayed, kind.shared, kind.spent = bills
    kind.saved_below = saved - kind.in_memory
    return kind
