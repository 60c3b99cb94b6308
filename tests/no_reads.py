"""Finds what would wait for the device, on any device."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"}
"""Operators whose result, or its shape, the host must know."""


class NoReads(TorchDispatchMode):
    """A context in which reading a number back from a tensor is an error.

    It does not see `tolist` and `numpy`, which are no operators.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        masked = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITS or masked:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))
