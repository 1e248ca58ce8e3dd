"""cascada behind the interfaces of other libraries, each in a few lines."""
