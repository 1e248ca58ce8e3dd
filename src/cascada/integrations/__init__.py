"""Where cascada meets other libraries: one module for each, and an extra that installs it."""
