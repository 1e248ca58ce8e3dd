"""Who makes a call that several ask for at once: the first to miss leads, the others wait.

A framework that looks up, makes its call by itself and stores what came has no loader that could be
handed to `load`. So there is nothing here to run: there are TURNS. Whoever misses takes the turn of
its key. Others who miss that key wait until it is over, and look again. It is over

- when the leader has stored what came: then those who look again find it;
- when its task ends without that, since the call failed or was cancelled: then the next one who
  looks leads;
- when it has lasted for as long as its leader would wait: a task may go on for ever after a failed
  call.

A leader may wait for another one's turn, as it may ask for several keys one after the other; so may
what it has started, whose end it waits for: a node of a graph that runs another graph. Where that
would lead back to itself, nobody waits, and a call is made once more. All of this is in one event
loop. What may be stored is nothing that is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from cascada.model.keys import Key

Task = asyncio.Task[Any]


class Turn:
    """One task's right to make the call of a key, until `until` (seconds of its loop)."""

    __slots__ = ("futile", "key", "leader", "over", "until")

    def __init__(self, key: Key, leader: Task, until: float) -> None:
        self.key = key
        self.leader: Task | None = leader
        self.until = until
        self.over = asyncio.Event()
        self.futile = False


_taken: ContextVar[tuple[Turn, ...]] = ContextVar("cascada_turns", default=())
"""The turns that this task has, and those that it was started in."""


class Turns:
    """All turns of one cache, by key, whichever framework asks, by whichever object.

    A turn is of one event loop: nothing of another one, which may be closed, or the parent's of a
    fork, could wake a task.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[asyncio.AbstractEventLoop, Key], Turn] = {}
        self._led: dict[Task, set[Turn]] = {}
        self._waiting: dict[Task, list[Sequence[Turn]]] = {}

    def of_others(self, keys: Iterable[Key], until: float) -> list[Turn]:
        """The turns that this task is to wait for."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        if not self._turns or me is None or loop.time() >= until:
            return []
        mine, found = _mine(me), []
        for key in keys:
            turn = self._turns.get((loop, key))
            if turn is not None and turn.leader not in mine and loop.time() < turn.until:
                found.append(turn)
        return [] if self._lead_back(found, mine) else found

    def _lead_back(self, turns: Sequence[Turn], mine: set[Task]) -> bool:
        """Whether one of them is not over before this task has what it waits for."""
        seen: set[Task] = set()
        ahead = [turn.leader for turn in turns]
        while ahead:
            task = ahead.pop()
            if task in mine:
                return True
            if task is not None and task not in seen:
                seen.add(task)
                waited = self._waiting.get(task, ())
                ahead += [turn.leader for turns in waited for turn in turns]
        return False

    async def over(self, turns: Sequence[Turn], until: float) -> bool:
        """Wait for them, at most until then; whether to wait for the next ones is worth it."""
        me = asyncio.current_task()
        assert me is not None
        mine = _mine(me)
        for task in mine:
            self._waiting.setdefault(task, []).append(turns)
        try:
            for turn in turns:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(turn.until, until)):
                        await turn.over.wait()
        finally:
            for task in mine:
                self._waiting[task].remove(turns)
                if not self._waiting[task]:
                    del self._waiting[task]
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
        if taken:
            _taken.set((*[turn for turn in _taken.get() if turn.leader is not None], *taken))
        return taken

    def of(self, key: Key) -> Turn | None:
        """The turn of a key, whoever has it: for who stores what came."""
        return self._turns.get((asyncio.get_running_loop(), key))

    def end(self, turn: Turn, *, futile: bool = False) -> None:
        """What came is stored. `futile`: it cannot be, nor could what the next one brings, so that
        those who wait need not make their calls one after the other."""
        leader, turn.leader = turn.leader, None
        if leader is None:
            return  # it is over
        del self._turns[leader.get_loop(), turn.key]
        turn.futile = futile
        turn.over.set()
        led = self._led[leader]
        led.discard(turn)
        if not led:
            # A task that lives long takes many turns.
            del self._led[leader]
            leader.remove_done_callback(self._left)

    def _left(self, task: Task) -> None:
        """The leader's task has ended."""
        for turn in list(self._led.get(task, ())):
            self.end(turn)


def _mine(me: Task) -> set[Task]:
    """This task, and those that wait for it, as far as they lead."""
    return {me, *[turn.leader for turn in _taken.get() if turn.leader is not None]}
