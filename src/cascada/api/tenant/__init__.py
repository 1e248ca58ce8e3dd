"""The tenant handle: `handle` is its face, each other file one kind of its calls."""
