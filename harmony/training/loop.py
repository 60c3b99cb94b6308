"""The loop: what a run does, one small action after another, and how it survives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.envs.pool import EnvPool
from harmony.envs.stream import Record
from harmony.errors import CheckpointError
from harmony.replay.store import Replay
from harmony.training.checkpoint import CheckpointStore
from harmony.training.collect import Player, can_sample, collect_step, random_action, tally_scores
from harmony.training.evaluation import Evaluator, open_loop
from harmony.training.guard import NumbersGuard
from harmony.training.journal import Journal
from harmony.training.retention import Retention
from harmony.training.schedule import (
    CheckpointSchedule,
    EvaluationSchedule,
    Progress,
    TrainingSchedule,
    crossed,
    next_multiple,
)
from harmony.training.seeding import Seeds
from harmony.training.signals import Stopped
from harmony.types import to_device

CHECKPOINT_VERSION = 2


class Diverged(Exception):  # noqa: N818 - reads as what happened
    """Numbers went bad and stayed bad."""


class Schedules(NamedTuple):
    """When what happens."""

    training: TrainingSchedule
    evaluation: EvaluationSchedule
    checkpoint: CheckpointSchedule


class Stop(Protocol):
    """Whether the run was asked to stop."""

    def check(self) -> None:
        """Raises where it was."""


class Trainer:
    """Collects, updates, evaluates and saves until the run is done.

    Every decision follows from `Progress`, which a checkpoint holds, so a run that is killed at any
    moment and started again takes the same actions as one that was not.

    Args:
        agent: what is trained.
        pool: the training environments.
        evaluator: runs evaluation episodes.
        replay: what was experienced.
        schedules: when what happens.
        seeds: of the run.
        checkpoints: where the state is kept.
        journal: where metrics, videos and messages go.
        stop: asked at every boundary between two actions.
    """

    def __init__(
        self,
        *,
        agent: DreamerAgent,
        pool: EnvPool,
        evaluator: Evaluator,
        replay: Replay,
        schedules: Schedules,
        seeds: Seeds,
        checkpoints: CheckpointStore,
        journal: Journal,
        stop: Stop,
    ) -> None:
        self.agent = agent
        self.pool = pool
        self.evaluator = evaluator
        self.replay = replay
        self.schedules = schedules
        self.seeds = seeds
        self.checkpoints = checkpoints
        self.journal = journal
        self.stop = stop
        self.progress = Progress(next_checkpoint=schedules.checkpoint.every_env_steps)
        self.player = Player(agent, "train", agent.generators.policy, pool.num_envs)
        self.random_rng = seeds.numpy("prefill")
        self.replay_rng = seeds.numpy("replay")
        self.retention = Retention(replay, checkpoints)
        self._saved_at = time.monotonic()
        self._save_seconds: float | None = None
        self.guard = NumbersGuard(agent, schedules.training.nonfinite_limit)

    def prepare(self) -> int:
        """Goes back to the newest checkpoint that is whole, if there is one.

        Returns:
            Bytes of metrics.jsonl that it covers.

        Raises:
            CheckpointError: all are damaged, or none fits this agent.
        """
        latest = self.checkpoints.load_latest()
        if latest is not None:
            self.load_state_dict(latest[1])
        self.journal.begin(self.progress, self.agent.updates)
        return self.journal.flush()

    def run(self) -> Progress:
        """Trains from where `prepare` has put it to the end.

        Raises:
            Stopped: a signal came; the state is saved.
            Diverged: numbers stayed bad after the last checkpoint was restored.
        """
        self.agent.peers.sync(self.agent.snapshot)
        try:
            while (action := self.next_action()) is not None:
                self.stop.check()
                action()
                if in_row := self.guard.skipped_in_row():
                    self._set_back(in_row)
                self._save_where_due()
        except Stopped:
            # Nothing is half done here: an evaluation that was cut short counts as not begun.
            self.save()
            raise
        self.save()
        self.checkpoints.save_named("last", self._weights())
        return self.progress

    def next_action(self) -> Callable[[], None] | None:
        """What comes next, None at the end."""
        progress, (training, evaluation, _) = self.progress, self.schedules
        if not progress.prefilled:
            return self._prefill_step
        if progress.pretrained < training.pretrain_updates:
            return self._pretrain_update
        if progress.random_return is None and evaluation.random_episodes:
            return self._evaluate_random
        done = progress.env_step >= training.env_steps
        ends = done and progress.last_evaluation != progress.env_step
        if progress.env_step >= progress.next_evaluation or ends:
            return self._evaluate
        return None if done else self._train_step

    def _prefill_step(self) -> None:
        # Whole episodes only: the policy must not begin in the middle of one. So once the steps
        # suffice, each environment ends its episode and then waits for the others.
        numbers = (self._prefill_suffices() and self.pool.open) or range(self.pool.num_envs)
        self._env_step(self._random_actions, numbers)
        if self._prefill_suffices() and not self.pool.open:
            stream, episodes = self.pool.streams[numbers[-1]], self.progress.episodes
            self.progress.prefilled = can_sample(self.replay, stream, episodes)

    def _prefill_suffices(self) -> bool:
        return self.progress.agent_step >= self.schedules.training.prefill_agent_steps

    def _random_actions(self, records: list[Record]) -> np.ndarray:
        space = self.pool.action_space
        return np.stack([random_action(space, self.random_rng) for _ in records])

    def _pretrain_update(self) -> None:
        self._update()
        self.progress.pretrained += 1

    def _train_step(self) -> None:
        before, steps = self.progress.env_step, self.progress.agent_step
        self._env_step(self.player.act_all, range(self.pool.num_envs))
        training = self.schedules.training
        batch_steps = self.replay.batch_size * self.replay.batch_length
        for step in range(steps + 1, self.progress.agent_step + 1):
            for _ in range(training.updates_due(step, batch_steps)):
                self._update()
        if crossed(before, self.progress.env_step, training.log_every_env_steps):
            counts = {"nonfinite/skipped_updates": float(self.agent.bad_steps()[0])}
            if self._save_seconds is not None:
                counts["time/save_s"] = self._save_seconds
            if self.progress.truncated_episodes:
                counts["episode/not_restored"] = float(self.progress.truncated_episodes)
            if self.pool.restarts:
                counts["env/restarts"] = float(self.pool.restarts)
            if self.pool.failures:
                counts["env/failures"] = float(self.pool.failures)
            self.journal.means_row(self.progress, self.agent.updates, counts)

    def _env_step(
        self, policy: Callable[[list[Record]], np.ndarray], numbers: Sequence[int]
    ) -> None:
        for episode in collect_step(self.pool, self.replay, policy, numbers):
            self.progress.agent_step += 1
            self.progress.env_step += self.pool.action_repeat
            if episode is not None:
                self.progress.count_episode(episode.info.get("tally", {}))
                scores = tally_scores(self.pool, self.progress)
                self.journal.episode_row(self.progress, episode, len(self.replay), scores)

    def _update(self) -> None:
        batch = self.replay.sample(self.replay_rng)
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        whole = to_device(tensors, self.agent.device)
        self.journal.add(self.agent.peers.update(self.agent.update, whole))
        self.guard.batch = tensors

    def _set_back(self, in_row: int) -> None:
        """Restores the last checkpoint, once; goes on with other random numbers."""
        what = f"{in_row} updates in a row had losses or gradients that are not finite"
        latest = None if self.progress.restores else self.checkpoints.load_latest()
        if latest is None:
            path = self.checkpoints.save_named(
                "bad_batch", {"batch": self.guard.batch, **self._weights()}
            )
            raise Diverged(
                f"{what}, env step {self.progress.env_step}; the batch and the weights are in "
                f"{path}; try precision=fp32 or a smaller learning rate"
            )
        self.load_state_dict(latest[1])
        self.journal.message(f"{what}: went back to env step {self.progress.env_step:,}")
        self.progress.restores += 1
        # The same random numbers would lead to the same place.
        branch = Seeds(self.seeds.seed, self.progress.restores)
        self.replay_rng = branch.numpy("replay")
        for name, generator in self.agent.generators._asdict().items():
            generator.set_state(branch.torch(self.agent.device, name).get_state())
        self.agent.peers.sync(self.agent.snapshot)
        self.save()

    def _evaluate_random(self) -> None:
        result = self.evaluator.evaluate_random(self.schedules.evaluation.random_episodes)
        self.progress.random_return = result.mean_return
        self.journal.row(self.progress, {"eval/random_return": result.mean_return})

    def _evaluate(self) -> None:
        schedule, progress = self.schedules.evaluation, self.progress
        result = self.evaluator.evaluate(self.agent, progress.env_step, schedule.episodes)
        progress.next_evaluation = next_multiple(progress.env_step, schedule.every_env_steps)
        progress.last_evaluation = progress.env_step
        progress.last_return, progress.last_success = result.mean_return, result.success_rate
        self.journal.row(progress, result.row())
        if schedule.video and result.frames is not None:
            self.journal.video(progress, "evaluation", result.frames)
            video = open_loop(self.agent, self.replay, self.seeds, progress.env_step)
            if video is not None:
                self.journal.video(progress, "open_loop", video)
            elif progress.best_return is None:
                self.journal.message(
                    "no open-loop video: nothing decodes what the model predicts; add "
                    "probe=decoder for one"
                )
        if progress.best_return is None or result.mean_return > progress.best_return:
            progress.best_return = result.mean_return
            self.checkpoints.save_named("best", self._weights())

    def close(self, *, finished: bool) -> None:
        """Lets go of environments and files.

        Args:
            finished: nobody will go on with the run, so `replay.keep` decides over its data.
        """
        self.pool.close()
        self.evaluator.pool.close()
        self.replay.close(finished)
        self.journal.close()

    def _weights(self) -> dict[str, object]:
        return {"modules": self.agent.state_dict(), "progress": self.progress.state_dict()}

    def _save_where_due(self) -> None:
        schedule = self.schedules.checkpoint
        minutes = (time.monotonic() - self._saved_at) / 60
        due = self.progress.env_step >= self.progress.next_checkpoint
        if due or minutes >= schedule.every_minutes:
            self.save()

    def save(self) -> Path:
        """Makes everything durable, in the order in which it is needed."""
        began, every = time.monotonic(), self.schedules.checkpoint.every_env_steps
        if self.progress.env_step >= self.progress.next_checkpoint:
            self.progress.next_checkpoint = next_multiple(self.progress.env_step, every)
        replay = self.replay.state_dict()
        offset = self.journal.flush()
        state = self.state_dict() | {"replay": replay, "metrics_offset": offset}
        path = self.checkpoints.save(self.progress.agent_step, state)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began
        self.journal.commit(offset)
        self.retention.saved(self.progress.agent_step, replay)
        return path

    def state_dict(self) -> dict[str, object]:
        """Everything but the replay and the metrics, which live in files of their own."""
        return {
            "version": CHECKPOINT_VERSION,
            "progress": self.progress.state_dict(),
            "agent": self.agent.snapshot(),
            "player": self.player.state_dict(),
            "envs": self.pool.state_dict(),
            "random_rng": self.random_rng.bit_generator.state,
            "replay_rng": self.replay_rng.bit_generator.state,
            "means": self.journal.means.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts everything back to where a checkpoint was made.

        Raises:
            CheckpointError: it was made by an agent of other parts or sizes.
        """
        if state["version"] != CHECKPOINT_VERSION:
            raise CheckpointError(
                f"expected a checkpoint of version {CHECKPOINT_VERSION}, got {state['version']}: "
                "use the release that wrote it"
            )
        try:
            self.agent.load_snapshot(state["agent"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit this agent ({str(error).splitlines()[0]}); "
                "start a new run directory, or use the configuration that made it"
            ) from error
        self.guard.reset()
        self.progress.load_state_dict(state["progress"])
        self.player.load_state_dict(state["player"])
        self.random_rng.bit_generator.state = state["random_rng"]
        self.replay_rng.bit_generator.state = state["replay_rng"]
        self.replay.load_state_dict(state["replay"])
        for env in self.pool.load_state_dict(state["envs"]):
            self.progress.truncated_episodes += self.replay.truncate_open_episode(env)
        self.journal.cut_back(state["metrics_offset"], state["means"], self.agent.device)
        self.retention.restored(self.progress.agent_step, state["replay"])
