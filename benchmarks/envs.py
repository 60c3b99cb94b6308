"""Times every suite that is installed: frames a second, resets, and what a step is spent on.

    python -m benchmarks.envs --seconds 5
    python -m benchmarks.envs --envs dmc metaworld --renders faithful fast

Random actions through the stream of episodes that training uses, one environment in this process.
`physics` is the simulator's own step, `render` the making of the picture, `wrapper` all that is
ours: suite and stream. A twin that takes the same steps in turn tells the parts, so that no clock
slows the steps whose time counts. Where the simulator is another program, or draws inside its step,
nothing tells the parts apart and they are left out. Milliseconds are medians over steps, those of
the wrapper over pairs of steps. Prints a table and writes a dated record below benchmarks/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch loads its threads

from harmony.build import build_env, check
from harmony.config.compose import compose
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.envs.stream import EpisodeStream
from harmony.errors import UserError
from harmony.tracking.provenance import provenance
from harmony.training.collect import random_action
from harmony.training.seeding import Seeds

PARTS = {
    ("unwrapped", "_draw"): "render",
    ("unwrapped", "_show"): "render",  # puts a video behind the picture
    ("_env", "step"): "physics",
    ("_env", "render"): "render",
    ("_ale", "act"): "physics",
    ("_ale", "getScreenRGB"): "render",
    ("_camera", "draw"): "render",
}
"""Attribute of an environment and method of it -> what its time counts as."""
RESETS = 5
WARM_UP = 5
HEADER = (
    "| env | task | render | agent steps/s | env steps/s | reset ms | physics ms | render ms "
    "| wrapper ms | wrapper % |\n|---|---|---|---|---|---|---|---|---|---|"
)


class Parts:
    """Seconds by part; what one part calls of another counts for the other alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, with its time added to a part.

        Args:
            function: to call.
            part: physics or render.
        """

        def call(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - as the function
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._inner.pop()
                self._inner[-1] += took

        return call

    def watch(self, env: Any) -> bool:  # noqa: ANN401 - of any suite
        """Times the parts of an environment; False where it has none that can be told apart."""
        found = set()
        for (name, method), part in PARTS.items():
            owner = getattr(env, name, None)
            if owner is None or not hasattr(owner, method):
                continue
            call = self.timed(getattr(owner, method), part)
            try:
                setattr(owner, method, call)
            except AttributeError:  # a class in C takes no attributes
                setattr(env, name, _Stand(owner, method, call))
            found.add(part)
        return "physics" in found


class _Stand:
    """Stands before an object that takes no attributes."""

    def __init__(self, owner: object, method: str, call: Callable[..., Any]) -> None:
        self._owner = owner
        self.__dict__[method] = call

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the object has it
        return getattr(self._owner, name)


class Walk:
    """Random steps of one environment, by fixed streams: two of them take the same.

    Args:
        config: of the environment.
        parts: that its time is divided into; None keeps the clocks out of it.
    """

    def __init__(self, config: dict[str, Any], parts: Parts | None = None) -> None:
        env, seeds = build_env(config), Seeds(0)
        self.parts = parts
        self.can_tell = parts is not None and parts.watch(env.unwrapped)
        self.stream = EpisodeStream(env, lambda k: seeds.integer("env", 0, k))
        self.rng = seeds.numpy("benchmark")
        self.resets: list[float] = []

    def reset(self) -> None:
        """Begins an episode; its parts don't count."""
        before = None if self.parts is None else self.parts.seconds.copy()
        began = time.perf_counter()
        self.stream.reset()
        self.resets.append(time.perf_counter() - began)
        if self.parts is not None and before is not None:
            self.parts.seconds = before

    def step(self) -> float:
        """One random step, seconds; a reset before it does not count."""
        if self.stream.needs_reset:
            self.reset()
        action = random_action(self.stream.action_space, self.rng)
        began = time.perf_counter()
        self.stream.step(action)
        return time.perf_counter() - began


def measure(overrides: Sequence[str], seconds: float) -> dict[str, Any]:
    """One row of the table.

    Args:
        overrides: with `env=`.
        seconds: to step for, resets not counted.

    Raises:
        UserError: the suite can't be made here.
    """
    composed = compose(overrides)
    check(composed)
    parts = Parts()
    walk, twin = Walk(composed.config), Walk(composed.config, parts)
    walks = [walk, twin] if twin.can_tell else [walk]
    for each in walks:
        for _ in range(RESETS):
            each.reset()
        for _ in range(WARM_UP):
            each.step()
    times: list[float] = []
    told: defaultdict[str, list[float]] = defaultdict(list)
    while sum(times) < seconds:
        parts.seconds.clear()
        taken = {each: each.step() for each in walks}
        walks.reverse()  # who comes second finds warm caches
        times.append(taken[walk])
        if twin.can_tell:
            for part in ("physics", "render"):
                told[part].append(parts.seconds[part])
            told["wrapper"].append(times[-1] - sum(parts.seconds.values()))
    steps, total = len(times), sum(times)
    row = {
        "agent_steps": steps,
        "agent_steps_per_s": round(steps / total, 1),
        "env_steps_per_s": round(steps * walk.stream.action_repeat / total, 1),
        "reset_ms": round(1e3 * statistics.median(walk.resets[1:RESETS]), 1),
    }
    for part, values in told.items():
        row[f"{part}_ms"] = round(1e3 * statistics.median(values), 3)
    if twin.can_tell:
        share = statistics.median(told["wrapper"]) / statistics.median(times)
        row["wrapper_percent"] = round(100 * share, 1)
    for each in (walk, twin):
        each.stream.close()
    return row


def markdown(row: dict[str, Any]) -> str:
    """One line of the table."""
    keys = (
        "env", "task", "render", "agent_steps_per_s", "env_steps_per_s", "reset_ms",
        "physics_ms", "render_ms", "wrapper_ms", "wrapper_percent",
    )  # fmt: skip
    return "| " + " | ".join(str(row.get(key, "")) for key in keys) + " |"


def rows(names: Sequence[str], renders: Sequence[str], given: argparse.Namespace) -> list[Any]:
    """All rows; prints each as soon as it is there, and why a suite has none."""
    found = []
    for name in names:
        node = compose([f"env={name}"]).config["env"]
        for render in renders if "render" in node else [""]:
            overrides = [f"env={name}", *([f"render={render}"] if render else []), *given.overrides]
            try:
                measured = measure(overrides, given.seconds)
            except UserError as error:
                print(f"{name}: {' '.join(str(error).split())}", flush=True)
                break
            row = {"env": name, "task": node.get("task", ""), "render": render, **measured}
            print(markdown(row), flush=True)
            found.append(row)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = list_groups(find_conf_dir())
    parser.add_argument("--envs", nargs="+", choices=known["env"], default=known["env"])
    parser.add_argument(
        "--renders", nargs="+", choices=known["render"], default=["faithful", "fast"]
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of stepping, for each row")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("overrides", nargs="*", help="of every configuration, after --")
    given = parser.parse_args(argv)
    print(HEADER)
    found = rows(given.envs, given.renders, given)
    facts = provenance()
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "rows": found,
        "overrides": given.overrides,
        "mujoco_gl": os.environ.get("MUJOCO_GL", ""),
        "egl_device": os.environ.get("MUJOCO_EGL_DEVICE_ID", ""),
        "lp_num_threads": os.environ.get("LP_NUM_THREADS", ""),
        "load": [round(value, 1) for value in os.getloadavg()],
        "machine": facts["cpu"] or platform.machine(),
        "cores": facts["cores"],
        "gpu": facts["gpu"],
        "mujoco": facts["mujoco"],
        "commit": facts["git_commit"],
        "dirty": facts["git_dirty"],
    }
    given.results.mkdir(exist_ok=True)
    stamp = str(record["date"])[:19].replace(":", "").replace("-", "")
    path = given.results / f"envs_{stamp}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
