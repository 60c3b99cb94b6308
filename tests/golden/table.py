"""The golden table: what the original computed, what we compute, and how far they are apart.

Where the environment variable GOLDEN_TABLE names a file, each row is appended to it as Markdown.
"""

import os
from pathlib import Path

from torch import Tensor

Number = float | Tensor
HEADER = "| recording | quantity | original | ours | relative error |\n|---|---|---|---|---|\n"


def record(recording: str, quantity: str, original: Number, ours: Number) -> float:
    """A quantity that both have; gives the relative error.

    Args:
        recording: name of the golden file, with its folder.
        quantity: what was compared.
        original: the recorded value, one number.
        ours: likewise.
    """
    theirs, mine = _plain(original), _plain(ours)
    error = abs(mine - theirs) / max(abs(theirs), 1e-12)
    _append(f"| {recording} | {quantity} | {theirs:.9g} | {mine:.9g} | {error:.1e} |\n")
    return error


def record_error(recording: str, quantity: str, error: Number) -> None:
    """The largest relative error of many numbers."""
    _append(f"| {recording} | {quantity} | | | {_plain(error):.1e} |\n")


def _plain(number: Number) -> float:
    return float(number.detach()) if isinstance(number, Tensor) else float(number)


def _append(row: str) -> None:
    path = os.environ.get("GOLDEN_TABLE")
    if not path:
        return
    try:
        with Path(path).open("x") as table:
            table.write(HEADER)
    except FileExistsError:
        pass
    with Path(path).open("a") as table:
        table.write(row)
