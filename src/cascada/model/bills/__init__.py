"""What a load took and cost, and so what an answer without one saves."""
