"""A stand-in for PyRep with a simulator written in Python: no CoppeliaSim, no display."""

from pyrep.pyrep import PyRep

__all__ = ["PyRep"]
