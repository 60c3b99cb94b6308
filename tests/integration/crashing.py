"""Runs `python -m harmony` and kills itself with SIGKILL at a chosen place.

    python -m tests.integration.crashing PLACE COUNT OVERRIDE...

The process dies at the COUNT-th time that it comes to PLACE; it ends as usual if it never does.
"""

import importlib
import os
import signal
import sys

PLACES = {
    "update": ("harmony.agent", "DreamerAgent", "update"),
    "env_step": ("harmony.envs.stream", "EpisodeStream", "step"),
    "replay_flush": ("harmony.replay.store", "Replay", "state_dict"),
    "metrics_flush": ("harmony.tracking.jsonl", "MetricsLog", "flush"),
    "metrics_write": ("harmony.tracking.jsonl", "MetricsLog", "write"),
    "release": ("harmony.replay.store", "Replay", "release"),
    "evaluation": ("harmony.training.evaluation", "Evaluator", "_run"),
    "shipping": ("harmony.tracking.mlflow", "MLflowSink", "send"),
    "rename": ("os", None, "replace"),
    "half_written": ("harmony.training.checkpoint", None, "encode_file"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str, count: int) -> None:
    """Replaces a function by one that kills the process at its COUNT-th call."""
    module_name, class_name, name = PLACES[place]
    owner = importlib.import_module(module_name)
    if class_name is not None:
        owner = getattr(owner, class_name)
    original = getattr(owner, name)
    calls = 0

    def deadly(*args, **kwargs):
        nonlocal calls
        if place == "rename" and not str(args[1]).endswith(".ckpt"):
            return original(*args, **kwargs)
        calls += 1
        if calls < count:
            return original(*args, **kwargs)
        if place == "half_written":
            return _half(original(*args, **kwargs))
        if place == "evaluation":
            args[0].between_steps = _after(30)
            return original(*args, **kwargs)
        if place in ("metrics_write", "update"):
            original(*args, **kwargs)  # die right after instead of right before
        die()
        return None

    setattr(owner, name, deadly)


def _after(steps: int):
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if not left:
            die()

    return step


def _half(parts):
    """The header and half of the payload reach the file, then the writer dies."""
    header, payload = parts
    yield header
    yield payload[: len(payload) // 2]
    die()


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    from harmony.__main__ import main

    sys.exit(main(sys.argv[3:]))
