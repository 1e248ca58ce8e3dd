"""`benchmarks/hit_ratio.py` on a small trace, its exact policies against brute force."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hit_ratio.py"
Row = tuple[int, int]


def trace() -> list[Row]:
    """Some keys again and again, some in a loop, some once; sizes that differ."""
    draw, rows = random.Random(7), list[Row]()
    sizes = [draw.choice([10, 50, 200, 1500]) for _ in range(4000)]
    for turn in range(6000):
        key = [
            min(int(draw.paretovariate(0.7)), 999), 1000 + turn % 300, 2000 + turn % 2000,
        ][draw.choice([0, 0, 1, 2])]  # fmt: skip
        rows.append((key, sizes[key]))
    return rows


def brute_force(rows: list[Row], capacity: int, least: Callable[[list[int]], int]) -> float:
    """`least` says whose turn it is by (stored, used, hits) of each key, as the book does."""
    held: dict[int, list[int]] = {}
    misses = 0
    for now, (key, size) in enumerate(rows):
        if key in held:
            held[key][1] = now
            held[key][2] += 1
            continue
        misses += 1
        if size <= capacity:
            while sum(each[3] for each in held.values()) + size > capacity:
                del held[min(held, key=lambda each: least(held[each]))]
            held[key] = [now, now, 0, size]
    return misses / len(rows)


def sieve(rows: list[Row], capacity: int) -> float:
    """A list from the oldest to the newest, and a hand."""
    held: list[list[int]] = []
    misses = hand = 0
    for key, size in rows:
        found = next((each for each in held if each[0] == key), None)
        if found is not None:
            found[2] = 1
            continue
        misses += 1
        while size <= capacity and sum(each[1] for each in held) + size > capacity:
            hand %= len(held)
            while held[hand][2]:
                held[hand][2] = 0
                hand = (hand + 1) % len(held)
            del held[hand]
        if size <= capacity:
            if held and hand >= len(held):
                hand = 0
            held.append([key, size, 0])
    return misses / len(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [f"{n},{key},{size}\n" for n, (key, size) in enumerate(trace())]
    with gzip.open(tmp_path / "small.csv.gz", "wt") as file:
        file.writelines(["timestamp_ms,key,size\n", *lines])
    return tmp_path


def test_the_exact_policies_are_exact_and_adaptive_is_better_than_they(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, "--json", "--plot", folder / "means.png"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 1: small" in done.stderr, "it shows how far it is"
    assert (folder / "means.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(done.stdout)
    rows = trace()
    turns: dict[str, Callable[[list[int]], int]] = {
        "FIFO": lambda each: each[0],
        "LRU": lambda each: each[1],
        "LFU": lambda each: each[2] * 10**6 + each[1],
    }
    for cell in told["cells"]:
        policy, capacity = cell["policy"], cell["capacity"]
        if cell["fraction"] < 0.1 and policy in (*turns, "SIEVE"):
            turn = turns.get(policy)
            known = brute_force(rows, capacity, turn) if turn else sieve(rows, capacity)
            assert cell["miss_ratio"] == pytest.approx(known, abs=1e-9), cell
    means = {name: each["mean"] for name, each in told["policies"].items()}
    assert means["ADAPTIVE"] > max(means[each] for each in ("FIFO", "LRU", "LFU", "SIEVE"))


def test_what_is_no_folder_of_traces_is_said_in_a_sentence(tmp_path: Path) -> None:
    def said() -> str:
        command = [sys.executable, SCRIPT, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "has no *.csv.gz" in said()
    with gzip.open(tmp_path / "odd.csv.gz", "wt") as file:
        file.write("key,size\n")
    assert "odd.csv.gz has not the header" in said()
