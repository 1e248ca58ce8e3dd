"""The benchmarks of Redis run on a real server, and print every ratio that they promise."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

EXPECTED = {
    "l2.py": {
        "a lone get", "six levels", "1000 at once", "get_many of 1000", "64 workers",
    },
    "invalidation.py": {
        "L1+L2 over a PING, settle included", "L3 on top, over a durable commit",
        "beside 1,000 others over beside none",
    },
    "embeddings.py": {"as arrays", "as lists"},
    "cascades.py": {"ms over a PING, by the agent's context"},
}  # fmt: skip


@pytest.mark.parametrize("script", EXPECTED)
def test_every_ratio_is_measured_and_none_is_far_off(script: str) -> None:
    # A busy machine: only what is wrong by an order of magnitude fails here.
    said = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, "--quick", "--slack", "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    ratios = re.findall(r"^(.+): [\d.]+ .*\(reach [\d.]+\): (?:reached|missed)$", said.stdout, re.M)
    # Those against peers come on top, where they are installed.
    assert EXPECTED[script] <= set(ratios)
