"""`cache.sync`: the modern face for code that waits, in threads of any kind."""
