"""The messages, and that the worker's half runs where it has to."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harmony.envs import bridge_worker
from harmony.envs.bridge_worker import MAGIC, PREFIX, ProtocolError, decode, encode

WORKER = Path(bridge_worker.__file__)
OLD_CODE = [WORKER, *sorted((WORKER.parent / "worlds").glob("*.py"))]


def read(raw):
    stream = io.BytesIO(raw)

    def fill(view):
        if stream.readinto(view) < len(view):
            raise EOFError

    return decode(fill)


def written(*, header, arrays=b""):
    return PREFIX.pack(MAGIC, len(header)) + header + arrays


def test_a_message_is_what_the_module_says():
    raw = b"".join(map(bytes, encode(3, ["step", np.array([1, 2], "<u2")])))
    header = b'[3, ["step", {"array": 0}], [["<u2", [2]]]]'
    assert raw == written(header=header, arrays=b"\x01\x00\x02\x00")
    number, (method, array) = read(raw)
    assert (number, method, array.tolist()) == (3, "step", [1, 2])


def test_the_same_array_may_occur_twice():
    array = np.arange(3)
    first, second = read(b"".join(map(bytes, encode(1, [array, array]))))[1]
    first[0] = 9
    assert second.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00" * 8,
        PREFIX.pack(MAGIC, 2**32 - 1),
        written(header=b"\xff"),
        written(header=b"[1, 2"),
        written(header=b"[1, 2]"),
        written(header=b"7"),
        written(header=b'[1, {"array": 0}, []]'),
        written(header=b'[1, {"list": 0}, []]'),
        written(header=b'[1, {"dict": 5}, []]'),
        written(header=b'[1, 2, [["|O", [1]]]]'),
        written(header=b'[1, 2, [["no type", [1]]]]'),
        written(header=b'[1, 2, [["<f8", [-1]]]]'),
        written(header=b'[1, 2, [["<f8", [99999999999]]]]'),
        written(header=b'[1, 2, [["<f8"]]]'),
    ],
)
def test_what_is_no_message_is_refused(raw):
    with pytest.raises(ProtocolError):
        read(raw)


def test_a_message_that_breaks_off_is_the_end():
    raw = b"".join(map(bytes, encode(3, np.arange(5))))
    for length in (0, 3, 20, len(raw) - 1):
        with pytest.raises(EOFError):
            read(raw[:length])


@pytest.mark.parametrize("path", OLD_CODE, ids=[path.stem for path in OLD_CODE])
def test_it_is_python_3_8(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name.partition(".")[0]
        for node in imported
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else map(_name, node.names))
    }
    assert "harmony" not in names
    assert "annotations" in {alias.name for node in imported for alias in node.names} or not names


def _name(alias):
    return alias.name


def test_numpy_is_not_there_before_the_fork():
    """Its threads would be."""
    code = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('worker', {str(WORKER)!r});"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec));"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"
