"""`make bench` in its quick form: every figure with a reach is there, and none is far off.

Each script runs by itself, as it does for the runner: a slow machine then hangs in none of them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.held import HELD, ROOT, nothing_is_missing_or_far_off, rows_of

ALONE = "l1"
"""In test_hits_alone.py."""

ON_THE_PAGE = ("sizes", "by_hand")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the runner wrote, of some of the scripts."""
    folder = tmp_path_factory.mktemp("page")
    command = [sys.executable, ROOT / "benchmarks/run.py", "--quick", "--into", folder]
    subprocess.run([*command, "--only", *ON_THE_PAGE], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("script", [script for script in HELD if script != ALONE])
def test_every_figure_with_a_reach_is_there_and_none_is_far_off(
    script: str, tmp_path: Path, page: Path
) -> None:
    if script in ON_THE_PAGE:
        sections = json.loads((page / "benchmarks.json").read_bytes())["sections"]
        (rows,) = (each["rows"] for each in sections if each["script"] == script)
    else:
        rows = rows_of(script, tmp_path)
    nothing_is_missing_or_far_off(script, rows)


def test_it_is_one_table_and_a_plot_that_name_no_machine(page: Path) -> None:
    text = (page / "README.md").read_text("utf-8")
    taken = json.loads((page / "benchmarks.json").read_text("utf-8"))["taken"]
    for part in ("cores", "CPython", "server", "valkey-glide", "commit"):
        assert part in text
    assert taken["versions"]["redis"] in text
    assert str(ROOT) not in text
    assert sys.prefix not in text
    assert (page / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
    for script in ON_THE_PAGE:
        assert f"`python benchmarks/{script}.py`" in text


def test_the_runner_knows_every_script() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "{" + ",".join(HELD) + "}" in said.stdout.replace("\n", "").replace(" ", "")
