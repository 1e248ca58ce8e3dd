"""Strategies: what is done beyond an answer, by modules that call the engine or are asked by it."""
