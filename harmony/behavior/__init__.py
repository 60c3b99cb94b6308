"""Imagination, actor, critic and what trains them."""
