"""Composing, checking and storing configurations."""
