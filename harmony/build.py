"""The composition root: configuration in, objects out.

Here, and for the agent in `harmony.build_agent`, the keys of the configuration meet sizes that are
known only at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch

from harmony.build_agent import build_agent
from harmony.config.check import check_keys, check_nodes
from harmony.config.compose import Composed
from harmony.config.nodes import Constructor, instantiate
from harmony.envs.devices import draw_where
from harmony.envs.pool import EnvPool, InProcess, Spawned
from harmony.envs.suite import check_suite
from harmony.errors import ConfigError
from harmony.parts import RUNTIME_ARGUMENTS, SCHEMAS
from harmony.peers import ALONE, Peers
from harmony.replay.budget import check_machine
from harmony.replay.store import Replay
from harmony.training.checkpoint import CheckpointStore
from harmony.training.evaluation import Evaluator
from harmony.training.journal import Journal
from harmony.training.loop import Schedules, Stop, Trainer
from harmony.training.precision import Precision
from harmony.training.schedule import EvaluationSchedule
from harmony.training.seeding import Seeds
from harmony.training.weights import load_weights, weights_file

Env = gymnasium.Env[dict[str, np.ndarray], Any]


def build_device(name: str) -> torch.device:
    """The device that a name means; auto takes CUDA where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ConfigError(
                f"device={name} needs a CUDA device that is not here ({count} found); take "
                "device=cpu, or install the CUDA build of torch and a driver"
            )
    elif device.type != "cpu":
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    return device


def check(composed: Composed) -> None:
    """Checks everything that can be checked before a directory is made.

    Raises:
        ConfigError: a key, a type or a value is wrong.
    """
    check_keys(composed)
    check_nodes(composed, RUNTIME_ARGUMENTS, SCHEMAS)
    check_size(composed)
    check_suite(composed.config["env"]["_target_"], composed.config["env"])
    check_values(composed.config, here=composed.trains_here)


def check_size(composed: Composed) -> None:
    """Checks that the algorithm has widths of the chosen size.

    Raises:
        ConfigError: it has none; names those that it has.
    """
    sizes, size = composed.config["algorithm"]["sizes"], composed.choices["size"]
    if size not in sizes:
        raise ConfigError(
            f"algorithm={composed.choices['algorithm']} has no size={size}; take one of "
            f"{', '.join(sizes)}"
        )


def check_values(config: Mapping[str, Any], *, here: bool = True) -> None:
    """Checks what constructors would find too late or not at all.

    Args:
        config: resolved.
        here: whether the run trains on this machine, which then must have its device.

    Raises:
        ConfigError: a value out of range, or a device that is not here.
    """
    if config["seed"] < 0:
        raise ConfigError(f"seed must be at least 0, got {config['seed']}")
    precision: Precision = instantiate(config["precision"])
    if here:
        precision.check(build_device(config["device"]))
    for section in ("training", "evaluation", "checkpoint", "envs"):
        if section in config:  # stored runs that are older than `envs` have none
            instantiate(config[section])


def env_factory(config: Mapping[str, Any], *, evaluation: bool = False) -> Callable[[], Env]:
    """Makes environments, for another process too.

    One that has an argument `evaluation` is told what its episodes are for.
    """
    node = config["env"]
    told = Constructor.of(node["_target_"]).parameters.keys() & {"evaluation"}
    return cast(Callable[[], Env], instantiate(node, **dict.fromkeys(told, evaluation)))


def build_env(config: Mapping[str, Any], *, evaluation: bool = False) -> Env:
    """A fresh environment.

    Raises:
        EnvError: unknown task, missing package, or no way to render.
    """
    return env_factory(config, evaluation=evaluation)()


def observation_shapes(env: Env) -> dict[str, tuple[int, ...]]:
    """Shapes of the observations by name."""
    space = cast(gymnasium.spaces.Dict, env.observation_space)
    return {name: tuple(part.shape or ()) for name, part in space.items()}


def build_replay(config: Mapping[str, Any], pool: EnvPool, directory: Path) -> Replay:
    """The replay, once the machine was found large enough for it.

    Raises:
        UserError: it does not fit into memory, onto the disk, or into the limit of open files.
    """
    node, spec = config["replay"], pool.streams[0].record_spec
    check_machine(
        record_spec=spec,
        capacity=node["capacity"],
        run_steps=config["training"]["env_steps"] // pool.action_repeat + pool.num_envs,
        storage=node["storage"],
        segment_steps=node["segment_steps"],
        directory=directory,
        num_envs=pool.num_envs,
    )
    make: Callable[..., Replay] = instantiate(node)
    return make(record_spec=spec, directory=directory, num_envs=pool.num_envs)


def build_evaluator(config: Mapping[str, Any], seeds: Seeds, logs: Path, stop: Stop) -> Evaluator:
    """Environments of evaluations: as many as it says, where those of training are.

    Args:
        config: resolved.
        seeds: of the run.
        logs: directory for what processes of environments print.
        stop: asked between steps.

    Raises:
        UserError: an environment can't be made.
    """
    schedule: EvaluationSchedule = instantiate(config["evaluation"])
    envs: InProcess | Spawned = instantiate({**config["envs"], "num_envs": schedule.num_envs})
    make = env_factory(config, evaluation=True)
    return Evaluator(lambda seed_of: envs.open(make, seed_of, logs), seeds, stop.check)


def build_trainer(
    config: Mapping[str, Any],
    run_dir: Path,
    journal: Journal,
    stop: Stop,
    peers: Peers = ALONE,
) -> Trainer:
    """Everything that a run needs, with fresh weights or those of `init_from`.

    Args:
        config: resolved and checked.
        run_dir: of the run.
        journal: where its metrics go.
        stop: whether the run was asked to stop.
        peers: processes that share the batch of each update.

    Raises:
        UserError: something of it can't be made here; nothing slow has started.
    """
    device, seeds = build_device(peers.device(config["device"])), Seeds(config["seed"])
    draw_where(device)
    checkpoints = CheckpointStore(run_dir / "checkpoints", keep=config["checkpoint"]["keep"])
    if config["init_from"] and not checkpoints.steps():
        weights_file(Path(config["init_from"]))
    with ExitStack() as undo:  # a start that is refused leaves no simulator behind
        evaluator = build_evaluator(config, seeds, run_dir / "envs" / "evaluation", stop)
        undo.callback(evaluator.pool.close)
        make, seed_of = env_factory(config), partial(seeds.integer, "env")
        envs: EnvPool = instantiate(config["envs"]).open(make, seed_of, run_dir / "envs")
        pool = undo.enter_context(closing(envs))
        replay = build_replay(config, pool, run_dir / "replay")
        shapes, action_space = observation_shapes(pool.streams[0].env), pool.action_space
        peers.begin(shapes, action_space)
        agent = build_agent(config, shapes, action_space, device, seeds)
        agent.join(peers)
        if config["init_from"] and not checkpoints.steps():
            load_weights(agent, Path(config["init_from"]))
        undo.pop_all()
    return Trainer(
        agent=agent,
        pool=pool,
        evaluator=evaluator,
        replay=replay,
        schedules=Schedules(*(instantiate(config[name]) for name in Schedules._fields)),
        seeds=seeds,
        checkpoints=checkpoints,
        journal=journal,
        stop=stop,
    )
