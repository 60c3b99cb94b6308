"""How a record lies in memory and in a segment file.

A segment file is a plain NumPy file (`np.load(path, mmap_mode="r")` opens it) that holds one
structured array of `segment_steps` records; record `i` of segment `k` has position
`k * segment_steps + i`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

Record = dict[str, np.ndarray]
RecordSpec = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]

REQUIRED_KEYS = ("action", "reward", "is_first", "is_last", "is_terminal")


def record_dtype(record_spec: RecordSpec) -> np.dtype[Any]:
    """Structured dtype of one record.

    Args:
        record_spec: for each key its dtype and its shape within one step.

    Returns:
        An aligned dtype with fields in alphabetical order, so that the order in which an
        environment names its keys does not change the file.

    Raises:
        ValueError: a key that every record needs is missing.
    """
    missing = [key for key in REQUIRED_KEYS if key not in record_spec]
    if missing:
        raise ValueError(f"record_spec lacks {missing}, has {sorted(record_spec)}")
    fields = [(key, *record_spec[key]) for key in sorted(record_spec)]
    return np.dtype(fields, align=True)


def file_header(dtype: np.dtype[Any], segment_steps: int) -> bytes:
    """Header of a segment file, in NumPy's own format.

    Args:
        dtype: of one record.
        segment_steps: records in the file.
    """
    buffer = io.BytesIO()
    # An array of the right dtype gives the description; only its shape is ours.
    description = np.lib.format.header_data_from_array_1_0(  # type: ignore[no-untyped-call]  # no hints
        np.zeros(1, dtype)
    )
    description["shape"] = (segment_steps,)
    np.lib.format.write_array_header_1_0(buffer, description)  # type: ignore[no-untyped-call]  # as above
    return buffer.getvalue()


def check_record(record: Mapping[str, np.ndarray], dtype: np.dtype[Any]) -> None:
    """Compare a record's keys, dtypes and shapes with the layout.

    Raises:
        ValueError: they differ; NumPy would otherwise cast or broadcast in silence.
    """
    names = dtype.names or ()
    if record.keys() != set(names):
        raise ValueError(f"expected record keys {sorted(names)}, got {sorted(record)}")
    for key in names:
        field = dtype[key]
        value = np.asarray(record[key])
        if value.dtype != field.base or value.shape != field.shape:
            raise ValueError(
                f"record[{key!r}]: expected {field.base} {field.shape}, "
                f"got {value.dtype} {value.shape}"
            )
