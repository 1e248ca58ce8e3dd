"""How often a function was called, for tests that share one."""

from typing import Any


class Calls(list[Any]):
    """The arguments of every call. A call of `record` answers the number of calls so far."""

    async def record(self, *args: Any) -> list[Any]:
        self.append(args)
        return [len(self)]
