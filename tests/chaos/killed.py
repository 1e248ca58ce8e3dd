"""A process that sets values until it is killed, and notes what was acknowledged.

`write_behind`, `journaled` and `synced` say what is set where (`Ground`); `killing` begins such
processes, kills them and judges. Each set is noted before it is made, and when it was acknowledged.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

KEYS: Final = 60
"""Of each process; each is set by one lane, so that its sets have an order."""

LANES: Final = 12


@dataclass(frozen=True, slots=True)
class Spec:
    """What a process is told. `fail_point` "": none; `after`: when it was passed so often; `stops`:
    it stops there, and does not die. `sets`: how many it makes."""

    ground: str
    folder: str
    redis: str
    slot: int
    incarnation: int
    fail_point: str = ""
    after: int = 1
    stops: bool = False
    sets: int = 10**9


class Process(Protocol):
    """What a process does."""

    async def set(self, key: str, number: int) -> bool:
        """Set it to this number, or to what the ground makes of it."""
        ...

    async def look(self, key: str, number: int) -> str:
        """What is wrong with what is read after this was acknowledged; nothing: ""."""
        ...


class Ground(ABC):
    """What is set where. `name` is the module and what it is made with: "module:argument".

    `fail_points`: where a process may be made to die, each behind what it awaits: whose that is,
    and how it is called. `needs_redis`: a durable one, which is killed as well.
    """

    name: str
    fail_points: Mapping[str, tuple[Any, str]]
    needs_redis = True

    @abstractmethod
    def opened(self, folder: Path, redis: str) -> AbstractAsyncContextManager[Process]:
        """A process's cache, at work."""

    @abstractmethod
    async def begin(self, folder: Path, redis: str) -> None:
        """What is there before the first process."""

    @abstractmethod
    async def finish(self, folder: Path, redis: str) -> str:
        """Write what is left; what is left all the same, in words."""

    @abstractmethod
    async def there(self, folder: Path, ids: Sequence[str]) -> dict[str, int | None]:
        """What was written of these keys."""

    @abstractmethod
    def noted(self, folder: Path) -> list[tuple[str, int]]:
        """Each change that was ever written: its key and the journal's number."""

    def value(self, number: int) -> int | None:
        """What is there once this was set."""
        return number


def ground(name: str) -> Ground:
    """The ground of a name."""
    module, _, argument = name.partition(":")
    made: Ground = importlib.import_module(module).ground(argument)
    return made


# --- one process ------------------------------------------------------------------------------


async def work(spec: Spec) -> None:
    """Set values until killed."""
    on, left = ground(spec.ground), spec.sets
    _arm(on, spec)
    folder = Path(spec.folder)
    log = os.open(folder / f"log-{spec.slot}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, key: str, number: object) -> None:
        os.write(log, f"{what} {key} {number}\n".encode())

    async with on.opened(folder, spec.redis) as process:

        async def lane(which: int) -> None:
            nonlocal left
            number = spec.incarnation * 1_000_000
            while left > 0:
                for place in range(which, KEYS, LANES):
                    left, number = left - 1, number + 1
                    key = f"{spec.slot}-{place}"
                    note("begun", key, number)
                    kept = await process.set(key, number)
                    note("kept" if kept else "refused", key, number)
                    if not kept:  # Redis is away: not as fast as that fails
                        await asyncio.sleep(0.02)
                    elif wrong := await process.look(key, number):
                        note("wrong", key, wrong)

        async with asyncio.TaskGroup() as lanes:
            for which in range(LANES):
                lanes.create_task(lane(which))


def _arm(on: Ground, spec: Spec) -> None:
    """Die or stop at the fail-point; what had nothing to do does not pass it."""
    if not spec.fail_point:
        return
    owner, name = on.fail_points[spec.fail_point]
    left, passes = spec.after, getattr(owner, name)

    async def dies(*what: Any, **how: Any) -> Any:
        nonlocal left
        answer = await passes(*what, **how)
        left -= answer is None or bool(answer)
        if not left:
            os.kill(os.getpid(), signal.SIGSTOP if spec.stops else signal.SIGKILL)
        return answer

    setattr(owner, name, dies)


if __name__ == "__main__":
    asyncio.run(work(Spec(**json.loads(sys.argv[1]))))
