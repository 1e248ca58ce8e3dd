"""What the quick form of each script has to tell, and how far off it may be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FAR_OFF = 20
"""Times its reach: a busy machine, and code that the quick form has hardly warmed up."""

HELD = {
    "l1": {
        "cascada: cache.get(key), the key at hand",
        "cascada: acme.get(type, id)",
        "cascada: tenant, type, id, agent and conversation as strings",
        "cascada: acme.load(type, id, loader)",
        "cascada: get_with_cache_aside(...)",
        "cascada: acme.get_many(1000 ids), a key",
        "what a dict of 1 KB adds to a hit",
        "a hit with one observer",
        "a hit under ADAPTIVE",
        "to give up another for a new value",
        "a hit of @cached",
    },
    "sizes": {"an entry, beside its key and its value", "a further tenant with one entry"},
    "fills": {
        "cascada: a get of a missing id", "cascada: a set", "cascada: a load of a missing value",
    },
    "l2": {
        "cascada: a lone get",
        "cascada: 1000 gets at once",
        "cascada: 64 workers",
        "cascada, memory empty: 1000 in one call",
        "cascada, memory filled: 1000 in one call",
        "1000 in one call",
        "six levels",
        "six levels, memory filled",
    },
    "sqlite": {"a get", "a batch of 1000"},
    "encryption": {"Redis: get", "Redis: set", "SQLite: get", "SQLite: set", "memory: get"},
    "embeddings": {"as arrays", "as lists"},
    "stampede": {
        "cascada: load: loader calls",
        "cascada: load: until all have it",
        "cascada: load: harmed by a cancelled caller",
        "cascada: load: loader calls in four processes",
        "cascada: load: callers who failed in four processes",
    },
    "by_hand": {
        "redis+sqlite: the most of five ways, a source of 0.05 to 0.05 s",
        "redis+sqlite: four equal sets, empty after",
    },
    "invalidation": {"L1+L2, settle included", "L3 on top", "with 100,000 others cached"},
    "many": {"L1+L2: set_many", "L1+L2: delete_many"},
    "cascades": {
        "over a PING, by the agent's context",
        "scripts that Redis ran, by the agent's context",
        "scripts that Redis ran, by the ids of its conversations",
    },
    "loop": {
        f"{tier}: {what}"
        for tier in ("memory", "Redis", "SQLite")
        for what in ("hits, mixed", "misses", "loads")
    },
    "sync_rows": {
        f"{database}: the sync, its journal in {what}"
        for database in ("SQLite", "PostgreSQL")
        for what in (
            "SQLite", "SQLite: block", "SQLite: memory grown", "Redis: block", "Redis: memory grown"
        )
    },
    "startup": {
        "from cascada import Cache, Policy, cached",
        "Cache.from_env() and a first set",
        "the same with Redis",
        "cascada --help",
    },
    "route": {"GET /agents/{agent_id}, in memory"},
}  # fmt: skip

PEERS = {
    "l1": {"async_lru.alru_cache", "cashews: get", "aiocache: get, timeout=0"},
    "fills": {"aiocache: a set", "cashews: a load of a missing value"},
    "l2": {
        "raw protocol: a lone get", "valkey-glide: 64 workers", "aiocache: 64 workers",
        "redis-py's MGET: 1000 in one call", "valkey-glide, client-side: a lone get",
    },
    "stampede": {"cashews: @cache: loader calls", "aiocache: @cached_stampede: loader calls"},
    "invalidation": {"cashews: delete_tags", "raw protocol: PING"},
}  # fmt: skip


def rows_of(script: str, folder: Path) -> list[dict[str, Any]]:
    path = folder / "rows.json"
    command = [sys.executable, ROOT / f"benchmarks/{script}.py", "--quick", "--json", path]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert path.exists(), said.stdout + said.stderr
    rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    return rows


def nothing_is_missing_or_far_off(script: str, rows: list[dict[str, Any]]) -> None:
    held = [row for row in rows if row["reach"] is not None]
    assert {row["name"] for row in held} == HELD[script]
    for row in held:
        assert row["value"] <= FAR_OFF * row["reach"], row
    assert {row["name"] for row in rows} >= PEERS.get(script, set())
