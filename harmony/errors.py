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


class SimulatorError(EnvError):
    """A simulator failed while it ran; the next reset of its environment starts another.

    Nobody's mistake: whoever steps the environment gives the episode up and goes on with the next.
    It stands among the errors of a user for those who only look, to be shown in one line.

    Args:
        what: happened.
        printed: the last lines that the simulator wrote.
        final: whether the environment has tried again often enough by itself.
    """

    def __init__(self, what: str, printed: str = "", *, final: bool = False) -> None:
        super().__init__(what)
        self.printed = printed
        self.final = final


class ComparisonError(UserError):
    """Runs that can't stand in one table, or a table that can't be made of them."""
