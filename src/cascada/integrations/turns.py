"""Who makes a call that several ask for at once: the first to miss leads, the others wait.

A framework that looks up, makes its call by itself and stores what came has no loader that could be
handed to `load`. So there is nothing here to run: there are TURNS. Whoever misses takes the turn of
its key. Others who miss that key wait until it is over, and look again. It is over

- when the leader has stored what came: then those who look again find it;
- when its task ends without that, since the call failed or was cancelled: then the next one who
  looks leads;
- when it has lasted for as long as its leader would wait: a task may go on for ever after a failed
  call.

A leader may wait for another one's turn, as it may ask for several keys one after the other. Where
that would lead back to itself, it does not wait, and makes its own call. All of this is in one
event loop. What may be stored is nothing that is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from cascada.model.keys import Key

Task = asyncio.Task[Any]


class Turn:
    """One task's right to make the call of a key, until `until` (seconds of its loop)."""

    __slots__ = ("futile", "key", "leader", "over", "until")

    def __init__(self, key: Key, leader: Task, until: float) -> None:
        self.key = key
        self.leader = leader
        self.until = until
        self.over = asyncio.Event()
        self.futile = False


class Turns:
    """All turns of one cache, by key, whichever framework asks, by whichever object.

    A turn is of one event loop: nothing of another one, which may be closed, or the parent's of a
    fork, could wake a task.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[asyncio.AbstractEventLoop, Key], Turn] = {}
        self._led: dict[Task, set[Turn]] = {}
        self._waiting: dict[Task, Sequence[Turn]] = {}

    def of_others(self, keys: Iterable[Key], until: float) -> list[Turn]:
        """The turns that this task is to wait for."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        if not self._turns or me is None or loop.time() >= until:
            return []
        found = []
        for key in keys:
            turn = self._turns.get((loop, key))
            if turn is not None and turn.leader is not me and loop.time() < turn.until:
                found.append(turn)
        return [] if self._lead_back(found, me) else found

    def _lead_back(self, turns: Sequence[Turn], me: Task) -> bool:
        """Whether one of them is not over before this task has what it waits for."""
        seen: set[Task] = set()
        ahead = [turn.leader for turn in turns]
        while ahead:
            task = ahead.pop()
            if task is me:
                return True
            if task not in seen:
                seen.add(task)
                ahead += [turn.leader for turn in self._waiting.get(task, ())]
        return False

    async def over(self, turns: Sequence[Turn], until: float) -> bool:
        """Wait for them, at most until then; whether to wait for the next ones is worth it."""
        me = asyncio.current_task()
        assert me is not None
        self._waiting[me] = turns
        try:
            for turn in turns:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(turn.until, until)):
                        await turn.over.wait()
        finally:
            del self._waiting[me]
        return not any(turn.futile for turn in turns)

    def take(self, keys: Iterable[Key], wait: float) -> list[Turn]:
        """The turns that this task has now, for so many seconds: of all these keys that no other
        one leads."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        taken: list[Turn] = []
        if me is None:
            return taken
        for key in keys:
            held = self._turns.get((loop, key))
            if held is not None:
                if held.leader is not me and loop.time() < held.until:
                    continue
                self.end(held)
            turn = self._turns[loop, key] = Turn(key, me, loop.time() + wait)
            taken.append(turn)
            led = self._led.get(me)
            if led is None:
                led = self._led[me] = set()
                me.add_done_callback(self._left)
            led.add(turn)
        return taken

    def of(self, key: Key) -> Turn | None:
        """The turn of a key, whoever has it: for who stores what came."""
        return self._turns.get((asyncio.get_running_loop(), key))

    def end(self, turn: Turn, *, futile: bool = False) -> None:
        """What came is stored. `futile`: it cannot be, nor could what the next one brings, so that
        those who wait need not make their calls one after the other."""
        led = self._led.get(turn.leader)
        if led is None or turn not in led:
            return  # it is over
        del self._turns[turn.leader.get_loop(), turn.key]
        turn.futile = futile
        turn.over.set()
        led.discard(turn)
        if not led:
            # A task that lives long takes many turns.
            del self._led[turn.leader]
            turn.leader.remove_done_callback(self._left)

    def _left(self, task: Task) -> None:
        """The leader's task has ended."""
        for turn in list(self._led.get(task, ())):
            self.end(turn)
