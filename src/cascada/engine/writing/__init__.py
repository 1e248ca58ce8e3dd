"""What changes the tiers: set, fill, invalidate, cascades, and what is told again."""
