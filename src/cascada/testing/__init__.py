"""For tests of services that use cascada: time by hand, tiers that fail, nodes in one process.

`cascada.testing.contract` holds the tests that any tier has to pass; it needs pytest.
"""

from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.nodes import Nodes

__all__ = ["FlakyTier", "ManualClock", "Nodes"]
