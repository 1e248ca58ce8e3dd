"""The worker processes, as their parent sees them: started, stopped, killed, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from tests.chaos.board import Board, Phase, State, Word
from tests.chaos.worker import Spec

PATIENCE: Final = 40.0
"""Seconds that a worker may take to come to rest; the cache itself drains for up to 10."""

TO_START: Final = 240.0
"""Seconds that a worker may take to come up. On a busy machine its imports alone take half a
minute, which says nothing about the cache."""

ROOT: Final = Path(__file__).parents[2]


class Hung(Exception):
    """A worker did not come to rest."""


class Fleet:
    """All workers of one run, each a process of the module `program`. A worker's lock is held by
    whatever fault is upon it."""

    def __init__(
        self,
        folder: Path,
        board: Board,
        config: str,
        workload: str,
        mutant: str,
        seed: int,
        program: str = "tests.chaos.worker",
    ) -> None:
        self.folder = folder
        self.board = board
        self.size = board.workers
        self.crashes = 0
        self.locks = [threading.Lock() for _ in range(self.size)]
        self._config = config
        self._workload = workload
        self._mutant = mutant
        self._seed = seed
        self._program = program
        self._log = (folder / "workers.log").open("ab")
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._processes = [self._spawn(slot) for slot in range(self.size)]

    def stop(self, slot: int) -> None:
        self._processes[slot].send_signal(signal.SIGSTOP)

    def go_on(self, slot: int) -> None:
        self._processes[slot].send_signal(signal.SIGCONT)

    def kill(self, slot: int) -> None:
        """Kill -9, and a new process in its place."""
        process = self._processes[slot]
        process.kill()
        process.wait()
        self._processes[slot] = self._spawn(slot)

    def wait_for(self, state: State) -> None:
        """Until every worker has come so far. Those that died by themselves are replaced."""
        began = time.monotonic()
        while any(self.board.state(slot) != state for slot in range(self.size)):
            self._replace_the_dead()
            late = [s for s in range(self.size) if self.board.state(s) != state]
            starting = any(self.board.state(slot) == State.STARTING for slot in late)
            if time.monotonic() - began > (TO_START if starting else PATIENCE):
                for slot in late:
                    os.kill(self._processes[slot].pid, signal.SIGUSR1)
                time.sleep(0.2)
                raise Hung(f"workers {late} did not become {state.name}; see workers.log")
            time.sleep(0.005)

    def end(self) -> None:
        """End all workers, gently if they can."""
        self.board.set_phase(Phase.END)
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 15
        for process in self._processes:
            try:
                if process.wait(max(0.1, deadline - time.monotonic())):
                    self.crashes += 1
            except subprocess.TimeoutExpired:
                self.crashes += 1
                process.kill()
                process.wait()
        self._log.close()

    def said(self) -> str:
        """What the workers wrote to their terminals."""
        return (self.folder / "workers.log").read_text("utf-8", errors="replace")

    def _spawn(self, slot: int) -> subprocess.Popen[bytes]:
        words = self.board.slot(slot)
        words[Word.INCARNATION] += 1
        words[Word.STATE] = State.STARTING
        spec = Spec(
            str(self.folder), self._config, self._workload, self._mutant, self._seed, slot,
            words[Word.INCARNATION], os.getpid(),
        )  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", self._program, spec.text()],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
        )

    def _replace_the_dead(self) -> None:
        for slot, process in enumerate(self._processes):
            if process.poll() is not None:
                self.crashes += 1
                if self.crashes > 3 * self.size:
                    raise Hung("the workers die again and again; see workers.log")
                self._processes[slot] = self._spawn(slot)
