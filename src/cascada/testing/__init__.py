"""For tests of services that use cascada: time by hand, tiers that fail, nodes in one process."""
