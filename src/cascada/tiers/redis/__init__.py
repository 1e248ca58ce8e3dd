"""The Redis tier (L2): shared by all processes, on any number of machines."""
