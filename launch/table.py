"""Tables of runs, for people and for machines."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence

from launch.states import Row
from launch.sweep import Sweep

_WIDE = 200  # where there is no terminal nothing is cut
_LESS_NEEDED = ("job", "starts", "node", "steps/s", "left", "return")
_LONGEST_NODE = 32
_SWEEPS_HEAD = ("sweep", "progress", "runs", "made", "what")
_HEAD = ("run", "state", "progress", "return", "steps/s", "left", "starts", "node", "job", "what")


def render(rows: Sequence[Row], width: int | None = None) -> str:
    """A table of runs with a line of totals.

    Args:
        rows: one a run.
        width: of the terminal, characters; asked for by default.
    """
    room = width or _terminal_width()
    lines = _columns(_fitting([_HEAD, *(_cells(row) for row in rows)], room), room)
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
    return "\n".join(_columns([_SWEEPS_HEAD, *cells], width or _terminal_width())) + "\n"


def _terminal_width() -> int:
    return shutil.get_terminal_size((_WIDE, 24)).columns


def _fitting(cells: list[tuple[str, ...]], room: int) -> list[tuple[str, ...]]:
    """Leaves out columns, the least needed first, until what tells the runs apart can be read."""
    for name in _LESS_NEEDED:
        if sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True)) - 2 <= room:
            break
        out = cells[0].index(name)
        cells = [(*line[:out], *line[out + 1 :]) for line in cells]
    return cells


def _columns(cells: Sequence[tuple[str, ...]], room: int) -> list[str]:
    """Lines of equal columns; the last one is cut where the terminal ends."""
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
    return json.dumps([row.as_json() for row in rows], indent=1, allow_nan=False) + "\n"


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
        str(row.restarts + 1 if row.env_step or row.restarts or row.state == "RUNNING" else 0),
        _cut(f"({row.why})" if row.state == "PENDING" and row.why else row.node, _LONGEST_NODE),
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
        shown.append(_cut(cell, width).ljust(width))
    return "  ".join(shown).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
