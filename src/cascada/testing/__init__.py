"""For tests of services that use cascada: time by hand, tiers that fail, nodes in one process, a
real Redis, loaders that count.

`cascada.testing.plugin` makes fixtures of them, and pytest finds it by itself, so each name here is
loaded when it is first asked for. `cascada.testing.contract` holds the tests that any tier has to
pass.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascada.testing.clock import ManualClock as ManualClock
    from cascada.testing.flaky import FlakyTier as FlakyTier
    from cascada.testing.loaders import CountedLoader as CountedLoader
    from cascada.testing.loaders import counted as counted
    from cascada.testing.nodes import Nodes as Nodes
    from cascada.testing.redis_server import RedisServer as RedisServer

__all__ = ["CountedLoader", "FlakyTier", "ManualClock", "Nodes", "RedisServer", "counted"]

_HOME = {
    "CountedLoader": "loaders",
    "FlakyTier": "flaky",
    "ManualClock": "clock",
    "Nodes": "nodes",
    "RedisServer": "redis_server",
    "counted": "loaders",
}


if not TYPE_CHECKING:  # a checker would take it to mean that every name is there

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'cascada.testing' has no attribute {name!r}")
        value = getattr(import_module(f"cascada.testing.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up finds it without coming here
        return value
