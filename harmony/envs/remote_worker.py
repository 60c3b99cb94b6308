"""The process in which an environment of a pool lives: `python -m harmony.envs.remote_worker FD`.

It gets a pickled factory through the pipe, then one request at a time. What the simulator prints
goes to the file that the parent has chosen, and so do the traceback of an error, the stacks of a
crash and, asked for by SIGUSR1, those of a worker that hangs.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from harmony.errors import SimulatorError, UserError

_LOOK_S = 1.0  # between looks whether the run is still there


def main(fd: int) -> None:
    """Serves one environment until the pipe closes.

    Args:
        fd: of the pipe to the run.
    """
    # Schedulers send these to every process of a job. The run answers them, not its workers; a
    # handler, since a signal that is ignored would stay so in the simulator's own processes.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(signum, lambda *_: None)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    os.set_inheritable(fd, False)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with Connection(fd) as pipe:
        _serve(pipe)


def _end_with(parent: int) -> None:
    """Ends this process and those of the simulator when the run is gone, even in a long step."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.killpg(0, signal.SIGKILL)


def _serve(pipe: Connection) -> None:
    env: Any = None
    try:
        env = pickle.loads(pipe.recv_bytes())()
        save = getattr(env.unwrapped, "state_dict", dict)
        repeat = int(getattr(env.unwrapped, "action_repeat", 1))
        repeats_itself = bool(getattr(env.unwrapped, "deterministic", True))
        spaces, scores = (env.observation_space, env.action_space), _tally_scores(env)
        answer: Any = (spaces, repeat, repeats_itself, scores)
        while True:
            pipe.send(("done", answer, dict(save())))
            try:
                method, argument = pipe.recv()
            except EOFError:
                break
            answer = _call(env, method, argument)
    except Exception as error:  # whatever a simulator raises: the run decides what becomes of it
        sys.stderr.write(traceback.format_exc())
        line = f"{type(error).__name__}: {error}"
        mendable = isinstance(error, UserError) and not isinstance(error, SimulatorError)
        pipe.send(("raised", str(error) if mendable else None, line))
    finally:
        if env is not None:
            env.close()


def _tally_scores(env: Any) -> Any:  # noqa: ANN401 - what simulators give
    """The static method of the class, by name: it runs in the process of the run."""
    return getattr(env.unwrapped, "tally_scores", None)


def _call(env: Any, method: str, argument: Any) -> Any:  # noqa: ANN401 - what simulators take and give
    if method == "reset":
        return env.reset(seed=argument)[0]
    if method == "load_state_dict":
        return env.unwrapped.load_state_dict(argument)
    if method == "scores":
        return dict(env.unwrapped.scores(*argument)) if hasattr(env.unwrapped, "scores") else {}
    observation, reward, terminated, truncated, info = env.step(argument)
    return observation, float(reward), bool(terminated), bool(truncated), dict(info)


if __name__ == "__main__":
    main(int(sys.argv[1]))
