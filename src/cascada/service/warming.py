"""Preloading keys of a service: so many at once, each looked for first, each counted.

`CacheService.warm` makes one for each call. To go on after an interruption, call it again: what is
there already is not loaded. It must never run more loads at once than it was told, nor end
before those that it has begun, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from cascada.model.errors import CacheClosed

SHOWN: Final = 100
"""Keys that failed which a report names."""

Fate = Literal["present", "loaded", "absent", "refused"]

logger = logging.getLogger("cascada")


class WarmReport(msgspec.Struct, frozen=True):
    """What a `warm` has done with each of `wanted` keys.

    present: a tier had it. loaded: it was loaded and stored. absent: the loader has said None.
    refused: it is not stored, as it was set or invalidated meanwhile, or is still to be synced, or
    a tier does not answer, or the cache is off. failed: the loader raised, or its value cannot be
    stored; `errors` says of up to 100 of them what happened, by key.
    """

    service: str
    wanted: int = 0
    present: int = 0
    loaded: int = 0
    absent: int = 0
    refused: int = 0
    failed: int = 0
    errors: dict[str, str] = {}
    seconds: float = 0.0


class WarmProgress(NamedTuple):
    """Of a `warm` that goes on: the keys that it has dealt with, all of them, those it loaded."""

    service: str
    done: int
    total: int
    loaded: int
    seconds: float


class Warming:
    """One call. `deal`: what is done with a key."""

    def __init__(
        self,
        service: str,
        names: Sequence[str],
        deal: Callable[[str], Awaitable[Fate]],
        monotonic: Callable[[], float],
        on_progress: Callable[[WarmProgress], Any] | None,
    ) -> None:
        self._service = service
        self._names = names
        self._deal = deal
        self._monotonic = monotonic
        self._on_progress = on_progress
        self._fates: Counter[str] = Counter()
        self._errors: dict[str, str] = {}

    async def run(self, at_once: int) -> WarmReport:
        """Deal with all of them, `at_once` at most at the same time."""
        self._began = self._monotonic()
        left = iter(self._names)
        workers = [self._work(left) for _ in range(min(at_once, len(self._names)))]
        # Whoever is cancelled or fails: all workers have ended when this does.
        for ended in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
        fates = self._fates
        return WarmReport(
            service=self._service,
            wanted=len(self._names),
            present=fates["present"],
            loaded=fates["loaded"],
            absent=fates["absent"],
            refused=fates["refused"],
            failed=fates["failed"],
            errors=self._errors,
            seconds=self._monotonic() - self._began,
        )

    async def _work(self, left: Iterator[str]) -> None:
        for name in left:
            self._fates[await self._fate(name)] += 1
            self._tell()
            await asyncio.sleep(0)  # what memory has is found without waiting

    async def _fate(self, name: str) -> str:
        try:
            return await self._deal(name)
        except CacheClosed:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(name, error)  # the loader waited for something that was cancelled
        except Exception as error:  # noqa: BLE001 - one key's failure is no other's
            self._failed(name, error)
        return "failed"

    def _failed(self, name: str, error: BaseException) -> None:
        if not self._errors:
            logger.warning("warm of %s: %s failed: %r", self._service, name, error)
        if len(self._errors) < SHOWN:
            self._errors[name] = f"{type(error).__name__}: {error}"

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        seconds, fates = self._monotonic() - self._began, self._fates
        done, loaded = fates.total(), fates["loaded"]
        try:
            self._on_progress(WarmProgress(self._service, done, len(self._names), loaded, seconds))
        except Exception:
            logger.exception("on_progress of the warm of %s failed", self._service)
