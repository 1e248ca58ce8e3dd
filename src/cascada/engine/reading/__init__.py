"""The read path: memory, the tiers below it, the source."""
