"""Values to bytes and back: what a tier stores, exact, bounded, and never pickled."""
