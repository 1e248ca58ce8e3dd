"""Whoever ends a campaign, with kill -9 if he likes, has ended its workers, too."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.board import Board, Phase, State
from tests.chaos.fleet import PATIENCE
from tests.chaos.keyspace import Keyspace
from tests.chaos.truth import Truth
from tests.chaos.worker import Spec
from tests.chaos.workload import WORKLOADS

STARTS_IT = """
import os, subprocess, sys
program, spec = sys.argv[1:]
spec = spec.replace('"parent":0', f'"parent":{os.getpid()}')
subprocess.Popen([sys.executable, "-m", program, spec]).wait()
"""


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", 1)
    Truth.create(tmp_path / "truth", Keyspace(WORKLOADS["usual"].rows).claims.stop).close()
    spec = Spec(str(tmp_path), "memory", "usual", "", seed=1, slot=0, incarnation=1, parent=0)
    command = [sys.executable, "-S", "-c", STARTS_IT, "tests.chaos.worker", spec.text()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        deadline = time.monotonic() + PATIENCE
        while board.state(0) != State.ATTACKING and time.monotonic() < deadline:
            time.sleep(0.02)
        assert board.state(0) == State.ATTACKING
        parent.kill()
        try:
            parent.communicate(timeout=PATIENCE / 4)  # what it says ends when its worker does
        finally:
            board.set_phase(Phase.END)  # a worker that lives on ends after all


def test_a_rivals_worker_whose_parent_is_gone_before_it_looks_does_not_begin(
    tmp_path: Path,
) -> None:
    spec = Spec(str(tmp_path), "memory", "usual", "", seed=1, slot=0, incarnation=1, parent=0)
    command = [sys.executable, "-m", "tests.rivals.worker", spec.text()]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
