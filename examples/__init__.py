"""Programs that use cascada as a user would: through its public names alone."""
