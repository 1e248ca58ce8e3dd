"""Loaders that know how often they ran, for tests of who asks the source."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from cascada.model.door import arguments


class CountedLoader:
    """A loader in place of the plain one that it was made of. `counted` makes it.

    calls: what each run was given, in their order (of `load_many`'s loaders: the ids).
    """

    def __init__(self, loader: Callable[..., Any]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._loader = loader
        functools.update_wrapper(self, loader)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(args)  # one step of the interpreter: plain loaders run in threads
        return self._loader(*args, **kwargs)

    def assert_ran(self, times: int = 1) -> None:
        """AssertionError if it ran more often than that, or less."""
        times, name = arguments.integer(times, "times"), getattr(self, "__qualname__", "the loader")
        assert len(self.calls) == times, f"{name} ran {len(self.calls)} times, and not {times}"


class AsyncCountedLoader(CountedLoader):
    """The same of an async one."""

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(args)
        return await self._loader(*args, **kwargs)


def counted(loader: Callable[..., Any]) -> CountedLoader:
    """A loader that does what this one does, and counts."""
    loader = arguments.function(loader, "loader", "a function")
    is_async = inspect.iscoroutinefunction(loader)
    return AsyncCountedLoader(loader) if is_async else CountedLoader(loader)
