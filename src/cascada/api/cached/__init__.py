"""`@cached`: functions and generators whose results are kept."""
