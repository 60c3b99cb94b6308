"""Where a run writes down what happens: rows, videos and messages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harmony.tracking.base import METRICS_FILE, Tracker
from harmony.tracking.jsonl import MetricsLog
from harmony.tracking.video import write_video
from harmony.training.collect import Episode
from harmony.training.means import MetricMeans
from harmony.training.schedule import Progress
from harmony.types import Metrics

VIDEO_FPS = 20


class Display(Protocol):
    """What a person sees meanwhile."""

    def update(self, row: Mapping[str, float]) -> None:
        """Shows a row."""

    def message(self, text: str) -> None:
        """Shows a line."""


class Journal:
    """Rows go to metrics.jsonl first; tracker and display only read them.

    Args:
        run_dir: of the run.
        tracker: ships rows and files elsewhere.
        display: shows rows.
    """

    def __init__(self, run_dir: Path, tracker: Tracker, display: Display) -> None:
        self.run_dir = run_dir
        self.tracker = tracker
        self.display = display
        self.means = MetricMeans()
        self._log: MetricsLog | None = None
        self._mark = (time.monotonic(), 0, 0)

    def begin(self, progress: Progress, updates: int) -> None:
        """Opens the file of a new run; one that continues has been cut back before."""
        if self._log is None:
            self._log = MetricsLog(self.run_dir / METRICS_FILE, None)
        self._mark = (time.monotonic(), progress.env_step, updates)

    def cut_back(
        self, offset: int, means: dict[str, dict[str, Tensor]], device: torch.device
    ) -> None:
        """Forgets rows and sums after a checkpoint."""
        if self._log is not None:
            self._log.close()
        self._log = MetricsLog(self.run_dir / METRICS_FILE, offset)
        self.means.load_state_dict(means, device)
        self.tracker.commit(offset)

    def add(self, metrics: Metrics) -> None:
        """Gathers the metrics of an update for the next row of means."""
        self.means.add(metrics)

    def row(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Writes a row."""
        assert self._log is not None, "begin() comes first"
        row = {"env_step": progress.env_step, **values}
        self._log.write(row)
        self.display.update(row)

    def means_row(self, progress: Progress, updates: int, values: Mapping[str, float]) -> None:
        """Writes the means since the last such row, with speeds."""
        now, (then, steps, before) = time.monotonic(), self._mark
        seconds = max(now - then, 1e-9)
        self._mark = (now, progress.env_step, updates)
        speeds = {
            "time/frames_per_s": (progress.env_step - steps) / seconds,
            "time/updates_per_s": (updates - before) / seconds,
        }
        self.row(progress, {**self.means.flush(), "updates": updates, **values, **speeds})

    def episode_row(
        self,
        progress: Progress,
        episode: Episode,
        replay_steps: int,
        scores: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Writes a finished training episode, with what the suite says of all of them so far."""
        values = {
            "episode/return": episode.reward_sum,
            "episode/length": float(episode.length),
            "replay/steps": float(replay_steps),
        }
        if episode.success is not None:
            values["episode/success"] = float(episode.success)
        self.row(progress, values | dict(scores))

    def video(self, progress: Progress, name: str, frames: np.ndarray) -> None:
        """Keeps a video, (T, Hi, Wi, C) uint8, under videos/ and in the tracker."""
        path = self.run_dir / "videos" / f"{name}_{progress.env_step:09d}.mp4"
        try:
            path.parent.mkdir(exist_ok=True)
            write_video(path, frames, VIDEO_FPS)
        except OSError as error:
            # A picture is not worth a run; a disk that is full ends it at the next checkpoint.
            self.message(f"video {path.name} was not written: {error}")
            return
        self.tracker.artifact(path, "videos")

    def message(self, text: str) -> None:
        """Shows a line."""
        self.display.message(text)

    def flush(self) -> int:
        """Makes the rows durable; gives the size of the file in bytes."""
        assert self._log is not None, "begin() comes first"
        return self._log.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._log is not None:
            self._log.close()

    def commit(self, offset: int) -> None:
        """A durable checkpoint covers the rows before this byte: they may be shipped."""
        self.tracker.commit(offset)
