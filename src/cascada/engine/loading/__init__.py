"""From the caller's own code to an entry: loaders, what they depend on, encoding."""
