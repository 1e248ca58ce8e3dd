"""The memory tier (L1): this process's own copy."""
