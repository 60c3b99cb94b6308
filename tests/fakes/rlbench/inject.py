"""Errors on demand: `FAKE_RLBENCH_FAIL="3:IKError,9:InvalidActionError"`.

The number counts the env steps since the reset, from 1. `FAKE_RLBENCH_MISPLACE=2`: the first two
resets of a process find no place for the task.
"""

import os

from pyrep.errors import ConfigurationPathError, IKError

from rlbench.backend.exceptions import InvalidActionError, TaskEnvironmentError

VARIABLE = "FAKE_RLBENCH_FAIL"
MISPLACE = "FAKE_RLBENCH_MISPLACE"
KINDS = {kind.__name__: kind for kind in (IKError, ConfigurationPathError, InvalidActionError)}


def fail_where_asked(env_step):
    for asked in filter(None, os.environ.get(VARIABLE, "").split(",")):
        number, _, name = asked.partition(":")
        if int(number) == env_step:
            raise KINDS[name](f"asked for at env step {env_step}")


def misplace_where_asked(resets):
    if resets <= int(os.environ.get(MISPLACE, "0")):
        raise TaskEnvironmentError(f"Could not place the task in reset {resets}")
