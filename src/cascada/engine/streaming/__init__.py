"""Values that are made piece by piece, and read while they are made."""
