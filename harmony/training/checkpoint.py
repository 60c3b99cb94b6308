"""Checkpoints that are whole or not there.

File: magic (8 bytes), version (u32), length of the payload (u64), SHA-256 of what is before and
behind it (32 bytes), payload; numbers little-endian. The payload is what `torch.save` writes and
`torch.load(weights_only=True)` reads, and is read only after its checksum was found right.
"""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from harmony.errors import CheckpointError, RunDirectoryError

log = logging.getLogger(__name__)

MAGIC = b"HARMCKPT"
VERSION = 1
PREAMBLE = struct.Struct("<8sIQ")
HEADER_BYTES = PREAMBLE.size + hashlib.sha256().digest_size
ARRAY = "__numpy__"
"""Key that marks a NumPy array or scalar in the payload."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PLAIN = (type(None), bool, int, float, complex, str)
"""Types, besides tensors, arrays, dicts, lists and tuples, that a state may hold."""
MAX_BITS = 2000
"""Longer integers are written but not read back by `torch.load(weights_only=True)`."""


class DamagedError(CheckpointError):
    """A checkpoint file is cut or its bytes have changed."""


class CheckpointStore:
    """The newest checkpoints of a run, and weights saved under a name.

    A crash at any moment leaves the newest whole checkpoint as it was: the file is written under a
    temporary name, synced, renamed, and only then the oldest is deleted.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        """Make the directory.

        Args:
            directory: of the checkpoints, of one run alone.
            keep: checkpoints that are kept; at least 2, so that one may turn out damaged.

        Raises:
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep: expected at least 1, got {keep}")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.keep = keep

    def path(self, step: int) -> Path:
        """File of the checkpoint of a step."""
        return self.directory / f"checkpoint-{step:012d}.ckpt"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, damaged ones included, in ascending order."""
        matches = (
            re.fullmatch(r"checkpoint-(\d+)\.ckpt", path.name) for path in self.directory.iterdir()
        )
        return sorted(int(match[1]) for match in matches if match)

    def save(self, step: int, state: Mapping[str, object]) -> Path:
        """Write a checkpoint, then delete those that are too many.

        Checkpoints of later steps are deleted too: this process started before them, so they tell
        of a future that was given up, and of experience that has been overwritten.

        Args:
            step: env steps so far, not negative.
            state: tensors, arrays, numbers, strings, None, and dicts, lists and tuples of them.

        Raises:
            RunDirectoryError: the disk is full or fails; what was there is untouched.
            TypeError: the state holds something else; names the key.
        """
        path = self._write(self.path(step), state)
        steps = self.steps()
        past = [other for other in steps if other <= step]
        for other in steps:
            if other not in past[-self.keep :]:
                self.path(other).unlink(missing_ok=True)
        return path

    def load(self, step: int) -> dict[str, object]:
        """Read the checkpoint of a step.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        return read_checkpoint(self.path(step))

    def load_latest(self) -> tuple[int, dict[str, object]] | None:
        """Read the newest checkpoint that is whole.

        Returns:
            Its step and state, or None where nothing was ever saved.

        Raises:
            CheckpointError: all are damaged, or one comes from a newer version of this package.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, self.load(step)
            except DamagedError as error:
                log.warning("%s; the checkpoint before it is tried", error)
        if steps:
            raise CheckpointError(
                f"expected a whole checkpoint in {self.directory}, but all {len(steps)} are "
                "damaged: restore one, or start again in a new run_dir"
            )
        return None

    def save_named(self, name: str, state: Mapping[str, object]) -> Path:
        """Write a state under a name, such as the best or the last weights; it is never pruned.

        Raises:
            ValueError: the name has other characters than a-z, 0-9 and _.
            RunDirectoryError: as in `save`.
            TypeError: as in `save`.
        """
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(f"name: expected characters a-z, 0-9 and _, got {name!r}")
        return self._write(self.directory / f"{name}.ckpt", state)

    @staticmethod
    def load_named(path: Path) -> dict[str, object]:
        """Read any checkpoint file.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        return read_checkpoint(path)

    def _write(self, path: Path, state: Mapping[str, object]) -> Path:
        for leftover in self.directory.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        content = encode_file(state)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                for part in content:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105  (the tests let it fail by this name)
            _sync_directory(self.directory)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _unwritable(path, sum(map(len, content)), error) from error
        return path


def encode_file(state: Mapping[str, object]) -> tuple[bytes, memoryview]:
    """Header and payload of a checkpoint file.

    Raises:
        TypeError: the state holds something that a checkpoint can't; names the key.
    """
    buffer = io.BytesIO()
    torch.save(_encode(state, "state"), buffer)
    payload = buffer.getbuffer()
    preamble = PREAMBLE.pack(MAGIC, VERSION, len(payload))
    return preamble + _digest(preamble, payload), payload


def read_checkpoint(path: Path) -> dict[str, object]:
    """Read a checkpoint file; tensors come back on the CPU.

    Raises:
        DamagedError: it is cut or its bytes have changed.
        CheckpointError: it is missing, or was written by a newer version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"expected a checkpoint at {path}, there is none: check the path"
        ) from error
    except OSError as error:
        raise DamagedError(
            f"expected a readable checkpoint, got {error.strerror}: {path}"
        ) from error
    payload = _payload(path, content)
    state = _decode(torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
    if not isinstance(state, dict):
        raise DamagedError(f"expected a dict in the checkpoint {path}, got {type(state).__name__}")
    return state


def _digest(preamble: bytes | memoryview, payload: memoryview) -> bytes:
    digest = hashlib.sha256(preamble)
    digest.update(payload)
    return digest.digest()


def _payload(path: Path, content: bytes) -> memoryview:
    """Checked payload of a file's content."""
    if len(content) < HEADER_BYTES:
        raise DamagedError(
            f"expected at least {HEADER_BYTES} bytes, got {len(content)}: {path} is damaged"
        )
    preamble, payload = content[: PREAMBLE.size], memoryview(content)[HEADER_BYTES:]
    magic, version, length = PREAMBLE.unpack(preamble)
    if magic != MAGIC:
        raise DamagedError(f"expected a checkpoint of this package, got other bytes: {path}")
    if len(payload) != length:
        raise DamagedError(f"expected {length} bytes, got {len(payload)}: {path} is damaged")
    if content[PREAMBLE.size : HEADER_BYTES] != _digest(preamble, payload):
        raise DamagedError(f"expected another checksum: {path} is damaged")
    if version != VERSION:
        raise CheckpointError(
            f"expected checkpoint version {VERSION}, got {version} in {path}: use the release "
            "that wrote it"
        )
    return payload


def _encode(value: object, where: str) -> object:
    """Turn a state into what `torch.load(weights_only=True)` accepts, changing no value.

    Args:
        value: any part of a state.
        where: its keys, for the message.
    """
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, where)
    if isinstance(value, Mapping):
        return {
            _plain_key(key, where): _encode(item, f"{where}[{key!r}]")
            for key, item in value.items()
        }
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        items = [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if type(value) in PLAIN and not (isinstance(value, int) and value.bit_length() > MAX_BITS):
        return value
    raise TypeError(f"{where}: a checkpoint can't hold {type(value).__name__}")


def _plain_key(key: object, where: str) -> object:
    if type(key) not in PLAIN or key == ARRAY:
        raise TypeError(f"{where}: a checkpoint can't hold the key {key!r}")
    return key


def _encode_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Detached, on the CPU, and without the rest of a larger storage that it is a view of."""
    tensor = tensor.detach().cpu()
    if tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
        tensor = tensor.clone()
    return tensor


def _encode_array(value: np.ndarray | np.generic, where: str) -> dict[str, object]:
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(f"{where}: a checkpoint can't hold an array of {array.dtype}")
    return {
        ARRAY: array.dtype.str,
        "shape": list(array.shape),
        "scalar": isinstance(value, np.generic),
        # Not bytes: an empty one is pickled in a way that weights_only refuses.
        "data": torch.from_numpy(np.frombuffer(array.tobytes(), np.uint8).copy()),
    }


def _decode(value: object) -> object:
    """Undo `_encode`."""
    if isinstance(value, dict):
        if ARRAY in value:
            data = value["data"].numpy().tobytes()
            array = np.frombuffer(data, value[ARRAY]).reshape(value["shape"]).copy()
            return array[()] if value["scalar"] else array
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_decode(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _unwritable(path: Path, size: int, error: OSError) -> RunDirectoryError:
    if error.errno in NO_SPACE:
        return RunDirectoryError(
            f"expected {size / 1e9:.3g} GB free for {path}, but the disk or quota is full: free "
            "space and start again, the checkpoints before it are intact"
        )
    return RunDirectoryError(
        f"can't write the checkpoint {path} ({error.strerror}): check the disk"
    )


def _sync_directory(directory: Path) -> None:
    """Make a new name durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
