"""`benchmarks/prefetch.py` on traces of its own: what repeats is brought ahead, what does not costs
nothing."""

import csv
import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/prefetch.py"
KEYS = 2000


def write(path: Path, keys: Iterable[int]) -> None:
    with gzip.open(path, "wt", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("timestamp_ms", "key", "size"))
        rows.writerows((number, f"k{key}", 100) for number, key in enumerate(keys))


def walks(rng: random.Random) -> list[int]:
    """Groups of ten keys, each in its order, with strangers in between."""
    found: list[int] = []
    for _ in range(2500):
        first = 10 * rng.randrange(KEYS // 10)
        for key in range(first, first + 10):
            found.append(key)
            if rng.random() < 0.05:
                found.append(rng.randrange(KEYS))
    return found


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder, rng = tmp_path_factory.mktemp("traces"), random.Random(7)
    in_order = walks(rng)
    write(folder / "in_order.csv.gz", in_order)
    write(folder / "shuffled.csv.gz", rng.sample(in_order, len(in_order)))
    command = [sys.executable, SCRIPT, folder, "--json", "--plot", folder / "ratios.png"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (folder / "ratios.png").read_bytes().startswith(b"\x89PNG")
    return {each["trace"]: each for each in json.loads(said.stdout)}


def test_what_comes_in_order_is_brought_ahead(replayed: dict[str, dict[str, Any]]) -> None:
    told = replayed["in_order"]
    assert told["ahead"] >= told["alone"] + 0.3
    assert told["precision"] >= 0.85
    assert told["fetches"] <= 1.05


def test_what_is_shuffled_is_left_alone(replayed: dict[str, dict[str, Any]]) -> None:
    told = replayed["shuffled"]
    assert told["ahead"] >= told["alone"] - 0.005
    assert told["fetches"] <= 1.02
    assert told["held"]


def test_a_folder_without_traces_is_refused(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "there are no *.csv.gz" in said.stderr
