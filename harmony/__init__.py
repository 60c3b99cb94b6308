"""Harmony: HarmonyDream world models as an experiment platform."""

__version__ = "0.1.0"
