"""Mutants: cascada less one rule, each imported afresh with one piece of its source replaced.

A machine that cannot fail proves nothing, so each rule of the tiers is taken away in turn and the
machine must notice. A mutant whose piece of source is not there exactly once is an error: the
source has moved on, and the mutant must follow it.

    python -m tests.properties.mutants             # every mutant, with what was seen
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """`module` of cascada, with `old` replaced by `new`; `machine` is what must notice."""

    rule: str
    machine: str
    module: str
    old: str
    new: str = ""

    @property
    def name(self) -> str:
        return f"{self.machine}: {self.rule}"

    def replaced(self, source: str) -> str:
        if source.count(self.old) != 1:
            raise LookupError(
                f"{self.name}: in {self.module} this stands {source.count(self.old)} times, "
                f"not once:\n{self.old}"
            )
        return source.replace(self.old, self.new)


class Replaced(SourceFileLoader):
    """Loads a module's source with one piece replaced, and never its compiled cache."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        return compile(self.mutant.replaced(source), self.path, "exec")


class Finder(MetaPathFinder):
    """Finds the mutant's module before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != f"cascada.{self.mutant.module}":
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Replaced(fullname, spec.origin, self.mutant)
        return spec


@contextmanager
def imported(mutant: Mutant) -> Iterator[Any]:
    """The machine of a mutant, in a world where all of cascada was imported with the mutation."""
    ours = ("cascada", "tests.properties")
    healthy = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(ours)}
    finder = Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        home = "layered" if mutant.machine == "LayeredMachine" else "worlds"
        yield getattr(importlib.import_module(f"tests.properties.{home}"), mutant.machine)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(ours)]:
            del sys.modules[name]
        sys.modules.update(healthy)


MEMORY, HEARD = "tiers.memory.tier", "tiers.memory.invalidations"
KEPT = "tiers.memory.records"
HITS = "engine.hits"
MUTANTS = [
    Mutant("ring for the key's names", "MemoryMachine", HEARD,
           "(*static_names(key), *names)", "names"),
    Mutant("ring for late names", "MemoryMachine", HEARD,
           "(*static_names(key), *names)", "static_names(key)"),
    Mutant("low-water mark at the fill", "MemoryMachine", HEARD,
           "        if self.low(quote(key.tenant)) > seq:\n", "        if False:\n"),
    Mutant("low-water mark raised", "MemoryMachine", HEARD,
           "            self._raise_low(tenant_of(oldest), gone)\n", "            pass\n"),
    Mutant("flush ends leases", "MemoryMachine", MEMORY,
           "valid = flushes == self._flushes or (", "valid = True or ("),
    Mutant("flush ends answers of before", "MemoryMachine", MEMORY,
           "self._flushes if seq >= self._flushed_at else -1", "self._flushes"),
    Mutant("flush drops records", "MemoryMachine", MEMORY,
           "        self.records.clear()\n"),
    Mutant("an invalidated key's record is dropped", "MemoryMachine", MEMORY,
           "if record is not None and record.seq < seq and not record.gone:", "if False:"),
    Mutant("a set voids other leases", "MemoryMachine", MEMORY,
           "            self.names.record([key_name(key)], seq)\n"),
    Mutant("a void set leaves nothing", "MemoryMachine", MEMORY,
           "if lease.forced or (lease.adds", "if (lease.forced and valid) or (lease.adds"),
    Mutant("the clock on a hit", "MemoryMachine", HITS,
           "            or (record.checked != record.tenant.changes "
           "and not memory.still_valid(record))\n"),
    Mutant("the clock is moved", "MemoryMachine", HEARD,
           "            tenant.changes += 1\n        return ended",
           "            pass\n        return ended"),
    Mutant("names of the cells on a hit", "MemoryMachine", MEMORY,
           "        if not record.is_valid:\n            return False\n"),
    Mutant("cells at the read", "MemoryMachine", MEMORY,
           "        if not record.is_valid:\n            by",
           "        if False:\n            by"),
    Mutant("cells are told", "MemoryMachine", HEARD,
           "cell.seq, cell.live, cell.made = seq,", "_, cell.live, cell.made = seq,"),
    Mutant("the ring is told", "MemoryMachine", HEARD,
           "            if ring.get(name, 0) < seq:\n", "            if False:\n"),
    Mutant("a lease is as old as what was seen", "MemoryMachine", MEMORY,
           "self._seq if seen is None else seen.seq", "self._seq"),
    Mutant("dynamic names are borne", "MemoryMachine", KEPT,
           "            cells += tuple(map(self._names.cell, entry.names))\n",
           "            pass\n"),
    Mutant("static names are borne", "MemoryMachine", KEPT,
           "        cells = self._names.cells_of(partition, resource_id)\n",
           "        cells = self._names.cells_of(partition, resource_id)[:1]\n"),
    Mutant("expiry at the read", "MemoryMachine", MEMORY,
           "if record.is_over(self._clock):", "if False:"),
    Mutant("due time of a hit", "MemoryMachine", HITS,
           "            now >= record.due\n            # Memory has no locks.\n",
           "            False\n"),
    Mutant("older versions are refused", "MemoryMachine", MEMORY,
           "if version is not None and self.records.outdated(partition, resource_id, version):",
           "if False:"),
    Mutant("[liveness] a fill is kept", "MemoryMachine", MEMORY,
           "        if stored is not None:\n", "        if False:\n"),
    Mutant("[liveness] not every lease is void", "MemoryMachine", MEMORY,
           "valid = flushes == self._flushes or (", "valid = False or ("),
    Mutant("[liveness] an answer found is as young as the read", "MemoryMachine", MEMORY,
           "return Found(record, seq)", "return Found(record, record.seq)"),
]  # fmt: skip

RULES, LEDGER = "tiers.sqlite.writes", "tiers.sqlite.transaction"
READS = "tiers.sqlite.reads"
UPKEEP, SQLITE = "tiers.sqlite.maintenance", "tiers.sqlite.tier"
SCHEMA = "tiers.sqlite.schema"
MUTANTS += [
    Mutant("tombstones at the read", "SqliteMachine", READS,
           "if killer is not None or written < floor:", "if written < floor:"),
    Mutant("the floor at the read", "SqliteMachine", READS,
           "if killer is not None or written < floor:", "if killer is not None:"),
    Mutant("tombstones at the fill", "SqliteMachine", LEDGER,
           "return not any(name in tombstones and tombstones[name].seq > seq for name in names)",
           "return True"),
    Mutant("the floor at the fill", "SqliteMachine", LEDGER,
           "if not self.floor <= seq <= self.seq:", "if not seq <= self.seq:"),
    Mutant("numbers of another database at the fill", "SqliteMachine", LEDGER,
           "if not self.floor <= seq <= self.seq:", "if not self.floor <= seq:"),
    Mutant("a set leaves a tombstone", "SqliteMachine", RULES,
           '        state.bump(f"k:{key}", seq, version)\n'),
    Mutant("a void set removes the row", "SqliteMachine", RULES,
           "        if stored is None and old is not None:\n            state.remove(old)\n"),
    Mutant("the counter is from before the load", "SqliteMachine", RULES,
           "state.stands(lease.seq, names)",
           "state.stands(state.seq, names)"),
    Mutant("a row keeps the counter of its lease", "SqliteMachine", RULES,
           "seq = state.next() if told else lease.seq\n",
           "seq = state.next() if told else state.seq\n"),
    Mutant("dynamic names are borne", "SqliteMachine", RULES,
           "dict.fromkeys((*names, *entry.names))", "dict.fromkeys(names)"),
    Mutant("static names are borne", "SqliteMachine", RULES,
           "dict.fromkeys((*names, *entry.names))", "dict.fromkeys((own, *entry.names))"),
    Mutant("a deletion leaves a tombstone", "SqliteMachine", RULES,
           "for name in distinct)\n", 'for name in distinct if name[0] != "k")\n'),
    Mutant("a lease is as old as what was seen", "SqliteMachine", SQLITE,
           "counters[key.tenant] if answer is None else answer.seq", "counters[key.tenant]"),
    Mutant("older versions are refused", "SqliteMachine", RULES,
           "write.entry.version < newest", "False"),
    Mutant("a tombstone remembers the version", "SqliteMachine", RULES,
           "state.bump(name, seq, versions.get(name), at", "state.bump(name, seq, at"),
    Mutant("the sweep looks before it lifts", "SqliteMachine", UPKEEP,
           "below if not void]", "below]"),
    Mutant("the sweep lifts what is valid", "SqliteMachine", UPKEEP,
           "SET q = ? WHERE tenant", "SET q = q + 0 * ? WHERE tenant"),
    Mutant("the floor rises before tombstones go", "SqliteMachine", UPKEEP,
           "    state.floor = max(state.floor, state.sweep)\n"),
    Mutant("nothing is left below a new floor", "SqliteMachine", UPKEEP,
           "        return\n    # Nothing is left", "        pass\n    # Nothing is left"),
    Mutant("a restored file voids what it holds", "SqliteMachine", SCHEMA,
           "            renew(connection, clock)\n", "            pass\n"),
    Mutant("expiry at the read", "SqliteMachine", READS, "if now >= entry.expires:", "if False:"),
    Mutant("[liveness] a fill is kept", "SqliteMachine", RULES,
           "        state.store(key, seq, write.names, stored, envelope)\n"),
    Mutant("[liveness] a sweep keeps the newest tombstones", "SqliteMachine", LEDGER,
           "newest = max_tombstones // 4", "newest = 0"),
]  # fmt: skip
