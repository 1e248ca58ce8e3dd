"""cascada beside other libraries: one module each, and each needs its extra."""
