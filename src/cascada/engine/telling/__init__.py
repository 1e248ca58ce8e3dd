"""What is told of what the engine does: counts, events for observers, lines of a log."""
