"""Runs: their rows, what executes them, and the log of what they said."""
