"""Tables of runs, for people and for machines."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence

from launch.states import Row
from launch.sweep import Sweep

_WIDE = 200  # where there is no terminal nothing is cut
_SWEEPS_HEAD = ("sweep", "progress", "runs", "made", "what")
_HEAD = ("run", "state", "progress", "return", "steps/s", "left", "starts", "node", "job", "what")


def render(rows: Sequence[Row], width: int | None = None) -> str:
    """A table of runs with a line of totals.

    Args:
        rows: one a run.
        width: of the terminal, characters; asked for by default.
    """
    lines = _columns([_HEAD, *(_cells(row) for row in rows)], width)
    whys = [f"run {row.index}: {row.why}" for row in rows if row.state == "FAILED"]
    return "\n".join([*lines, "", f"{len(rows)} runs: {_counts(rows)}", *whys]) + "\n"


def render_sweeps(sweeps: Sequence[tuple[Sweep, Sequence[Row]]], width: int | None = None) -> str:
    """A table of sweeps.

    Args:
        sweeps: with the states of their runs.
        width: as in `render`.
    """
    cells = [
        (
            sweep.name,
            _share(sum(row.env_step for row in rows), sum(row.env_steps for row in rows)),
            _counts(rows),
            f"{duration(time.time() - sweep.created)} ago",
            " ".join(_bare(word) for word in sweep.overrides if not word.startswith("sweep=")),
        )
        for sweep, rows in sweeps
    ]
    return "\n".join(_columns([_SWEEPS_HEAD, *cells], width)) + "\n"


def _columns(cells: Sequence[tuple[str, ...]], width: int | None) -> list[str]:
    """Lines of equal columns; the last one is cut where the terminal ends."""
    room = width or shutil.get_terminal_size((_WIDE, 24)).columns
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = max(min(widths[-1], room - before), 12)
    return [_line(line, widths) for line in cells]


def _counts(rows: Sequence[Row]) -> str:
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))


def _share(part: int, whole: int) -> str:
    return f"{part / whole if whole else 0.0:4.0%}"


def as_json(rows: Sequence[Row]) -> str:
    """The same for machines: a list of objects."""
    return json.dumps([row.as_json() for row in rows], indent=1) + "\n"


def duration(seconds: float | None) -> str:
    """Such as ``2 d 3 h``, ``5 h 10 min``, ``40 s``."""
    if seconds is None:
        return ""
    whole = round(seconds)
    for unit, size, below, name in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {name}"
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        str(row.index),
        row.state,
        f"{_share(row.env_step, row.env_steps)} of {_short(row.env_steps)}",
        "" if row.last_return is None else f"{row.last_return:.1f}",
        "" if row.frames_per_s is None else f"{row.frames_per_s:.0f}",
        duration(row.seconds_left),
        str(row.restarts + 1 if row.env_step or row.restarts else 0),
        f"({row.why})" if row.state == "PENDING" and row.why else row.node,
        row.job,
        " ".join(_bare(word) for word in row.what.split()) or row.name,
    )


def _bare(override: str) -> str:
    key, sign, value = override.partition("=")
    return f"{key.rpartition('.')[2]}={value}" if sign else override


def _short(number: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = []
    for cell, width in zip(cells, widths, strict=True):
        cut = cell if len(cell) <= width else f"{cell[: width - 1]}…"
        shown.append(cut.ljust(width))
    return "  ".join(shown).rstrip()
