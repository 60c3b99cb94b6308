"""Errors that a user can cause.

Each message is one line: what was expected, what came, what to do.
"""


class UserError(Exception):
    """A mistake that the user can mend; the entry points print it as one line and exit with 2."""


class ConfigError(UserError):
    """The configuration names something that does not exist or has the wrong type."""


class RunDirectoryError(UserError):
    """The run directory can't be used: foreign, locked, not writable, or out of space."""


class CheckpointError(UserError):
    """No checkpoint that fits: none there, all damaged, or made by another configuration."""


class EnvError(UserError):
    """An environment can't be made: unknown task, missing package, or no way to render."""


class ComparisonError(UserError):
    """Runs that can't stand in one table, or a table that can't be made of them."""
