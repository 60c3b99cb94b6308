"""What a person sees while training: a progress bar on a terminal, plain lines in a log file."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

_SHOWN = {
    "episode/return": ("return", "{:,.1f}"),
    "eval/return": ("eval", "{:,.1f}"),
    "eval/success": ("success", "{:.0%}"),
    "loss/image": ("image", "{:.4g}"),
    "loss/reward": ("reward", "{:.4g}"),
    "loss/kl": ("kl", "{:.4g}"),
    "harmony/sigma/observation": ("sigma obs", "{:.3g}"),
    "harmony/sigma/reward": ("rew", "{:.3g}"),
    "harmony/sigma/dynamics": ("dyn", "{:.3g}"),
    "time/frames_per_s": ("frames/s", "{:,.0f}"),
    "time/updates_per_s": ("updates/s", "{:.3g}"),
}


class Terminal:
    """Shows progress on stderr.

    Args:
        total_env_steps: Env steps at which the run ends, action repeat included.
        interactive: A bar that redraws itself (True) or one line a row (False); None asks whether
            `stream` is a terminal.
        stream: Where to write; stderr by default.
    """

    def __init__(
        self, total_env_steps: int, interactive: bool | None = None, stream: TextIO | None = None
    ) -> None:
        self._total = total_env_steps
        self._stream = stream or sys.stderr
        self._gone = False
        self._latest: dict[str, float] = {}
        self._begin: tuple[float, float] | None = None  # (seconds, env_step) of the first row
        if interactive is None:
            interactive = self._stream.isatty()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        if interactive:
            self._progress = _bar(self._stream)
            self._task = self._progress.add_task("", total=total_env_steps, values="", step="0")
            self._progress.start()

    def update(self, row: Mapping[str, float]) -> None:
        """Shows a metric row.

        Args:
            row: Metric key -> value, with `env_step`; keys that are not shown are ignored.
        """
        step = row["env_step"]
        left = self._left(step)
        if self._progress is None:
            self._line(f"{step:,.0f}/{self._total:,} env steps", describe(row), left)
            return
        self._latest.update({key: value for key, value in row.items() if key in _SHOWN})
        values = "  ".join(part for part in (describe(self._latest), left) if part)
        self._progress.update(self._task, completed=step, step=f"{step:,.0f}", values=values)

    def message(self, text: str) -> None:
        """Shows one line of text, above the bar if there is one."""
        if self._progress is None:
            self._line(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leaves the terminal as it was; the last state of the bar stays visible."""
        if self._progress is not None:
            self._progress.stop()

    def _line(self, *parts: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write("  ".join(part for part in parts if part) + "\n")
            self._stream.flush()
        except OSError:  # a closed pipe, as after `| head`: the run itself goes on
            self._gone = True

    def _left(self, step: float) -> str:
        """Time left at the mean speed of this process, so a resumed run estimates right."""
        now = time.monotonic()
        if self._begin is None:
            self._begin = (now, step)
        began, first_step = self._begin
        if step <= first_step:
            return ""
        seconds = (now - began) * max(self._total - step, 0) / (step - first_step)
        return f"left {clock(seconds)}"


def describe(row: Mapping[str, float]) -> str:
    """The shown values of a row as one line, in a fixed order."""
    return "  ".join(
        f"{label} {form.format(row[key])}" for key, (label, form) in _SHOWN.items() if key in row
    )


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, such as 27:46:40 for 100000."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _bar(stream: TextIO) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[step]}  {task.fields[values]}"),
        console=Console(file=stream, force_terminal=True),
        refresh_per_second=4,
    )
