"""`make bench` in its quick form: every figure with a reach is there, and none is far off."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ATTEMPTS = 3
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
    "startup": {
        "from cascada import Cache, Policy, cached",
        "Cache.from_env() and a first set",
        "the same with Redis",
        "cascada --help",
    },
    "route": {"GET /agents/{agent_id}, in memory"},
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a quick run has written."""
    folder = tmp_path_factory.mktemp("bench")
    said = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", "--quick", "--into", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return folder


def rows_of(told: Path) -> dict[str, list[dict[str, Any]]]:
    sections = json.loads((told / "benchmarks.json").read_text("utf-8"))["sections"]
    return {section["script"]: section["rows"] for section in sections}


def test_every_figure_with_a_reach_is_there_and_none_is_far_off(told: Path) -> None:
    rows = rows_of(told)
    assert rows.keys() == HELD.keys()
    for script, expected in HELD.items():
        held = [row for row in rows[script] if row["reach"] is not None]
        assert {row["name"] for row in held} == expected
        for row in held:
            assert row["value"] <= FAR_OFF * row["reach"], row


def test_the_peers_stand_beside_it(told: Path) -> None:
    rows = rows_of(told)
    for script, peer in (
        ("l1", "async_lru.alru_cache"), ("l1", "cashews: get"), ("l1", "aiocache: get, timeout=0"),
        ("fills", "aiocache: a set"), ("fills", "cashews: a load of a missing value"),
        ("l2", "raw protocol: a lone get"), ("l2", "valkey-glide: 64 workers"),
        ("l2", "redis-py's MGET: 1000 in one call"), ("stampede", "cashews: @cache: loader calls"),
        ("invalidation", "cashews: delete_tags"), ("invalidation", "raw protocol: PING"),
    ):  # fmt: skip
        assert any(row["name"] == peer for row in rows[script]), f"{script}: {peer}"


def test_it_is_one_table_and_a_plot_that_name_no_machine(told: Path) -> None:
    text = (told / "README.md").read_text("utf-8")
    taken = json.loads((told / "benchmarks.json").read_text("utf-8"))["taken"]
    for part in ("cores", "CPython", "server", "valkey-glide", "commit"):
        assert part in text
    assert taken["versions"]["redis"] in text
    assert str(ROOT) not in text
    assert sys.prefix not in text
    assert (told / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
    for script in HELD:
        assert f"`python benchmarks/{script}.py`" in text


def test_a_hit_in_memory_takes_a_small_multiple_of_base(told: Path) -> None:
    # A busy machine slows down more who touches more memory: the bound is twice the goal, and the
    # best attempt counts.
    best = next(row for row in rows_of(told)["l1"] if "the key at hand" in row["name"])["value"]
    for _ in range(ATTEMPTS):
        if best <= 4.0:
            break
        path = told / "again.json"
        command = [sys.executable, ROOT / "benchmarks/l1.py", "--quick", "--json", path]
        subprocess.run(command, capture_output=True, check=False)
        best = min(best, *(r["value"] for r in json.loads(path.read_bytes())
                           if "the key at hand" in r["name"]))  # fmt: skip
    assert 1.0 < best <= 4.0
