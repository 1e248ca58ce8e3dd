"""Where values live: one contract, several tiers."""
