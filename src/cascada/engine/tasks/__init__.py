"""Who runs what: the owner of all tasks, single flight, limits, and what is done together."""
