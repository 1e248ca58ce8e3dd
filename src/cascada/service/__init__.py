"""`CacheService`: flat keys in groups, lifetimes by the hour, and a database that is told later."""
