"""Layers without reinforcement-learning meaning."""
