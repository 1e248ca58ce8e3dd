"""A value reaches its callers before it is stored; some tests look at what was stored."""

import asyncio


async def settled() -> None:
    """Return when no load is under way any more."""
    while loads := [task for task in asyncio.all_tasks() if "cascada:load" in task.get_name()]:
        await asyncio.wait(loads)
