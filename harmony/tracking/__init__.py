"""Metrics: a JSON-lines file as the source of truth, and those who read it."""
