"""Reading the golden files: names and axis orders of the original, turned into ours."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
PREFIXES = {
    "rssm.img_in": "rssm.cell.input",
    "rssm._cell._layer": "rssm.cell.linear",
    "rssm._cell._norm": "rssm.cell.norm",
    "rssm.img_out_0": "rssm.prior.layers.0",
    "rssm.img_dist_0": "rssm.prior_out",
    "rssm.obs_out": "rssm.post",
    "rssm.obs_dist": "rssm.post_out",
    "encoder.conv": "encoder.cnn.layers.",
    "heads.decoder.convin": "objective.decoder.cnn.input",
    "heads.decoder.conv": "objective.decoder.cnn.layers.",
    "heads.reward.dense": "reward.mlp.layers.",
    "heads.reward.out.out": "reward.output",
    "heads.discount.dense": "cont.mlp.layers.",
    "heads.discount.out.out": "cont.output",
    "actor.dense": "actor.mlp.layers.",
    "actor.out.std": "actor.std",
    "critic.dense": "critic.mlp.layers.",
    "critic.out.out": "critic.output",
    "_target_critic.dense": "slow_critic.critic.mlp.layers.",
    "_target_critic.out.out": "slow_critic.critic.output",
    "harmony_s1": "log_sigma.reward",
    "harmony_s2": "log_sigma.observation",
    "harmony_s3": "log_sigma.dynamics",
}


class Golden:
    """One file of values that the original computed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._arrays = np.load(HERE / f"{name}.npz")
        self.meta: dict[str, Any] = json.loads(str(self._arrays["meta"]))

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self._arrays[key]))

    def __contains__(self, key: str) -> bool:
        return key in self._arrays.files

    def group(self, group: str) -> dict[str, Tensor]:
        """Arrays of `param`, `grad` or any other prefix by the original's name."""
        start = f"{group}/"
        keys = [key for key in self._arrays.files if key.startswith(start)]
        return {key.removeprefix(start): self[key] for key in keys}

    def named(self, group: str) -> dict[str, Tensor]:
        """Arrays of `param` or `grad` by our name."""
        return {our_name(name): array for name, array in self.group(group).items()}

    def image(self, key: str = "image") -> Tensor:
        """The images of a key, drawn again from their seed and checked."""
        rng = np.random.default_rng(int(self[f"in/{key}_seed"]))
        image = rng.integers(0, 256, self.meta[f"{key}_shape"], dtype=np.uint8)
        assert hashlib.sha256(image.tobytes()).hexdigest() == self.meta[f"{key}_sha256"]
        return torch.from_numpy(image)


def our_name(name: str) -> str:
    """Our name of one of the original's parameters."""
    for theirs, ours in PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def load(module: nn.Module, params: dict[str, Tensor]) -> None:
    """Sets every parameter of a module; no name may be left over on its side."""
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, param in own.items():
            assert param.shape == params[name].shape, name
            param.copy_(params[name])


def uniform_for(prob: Tensor, sample: Tensor) -> Tensor:
    """Uniform numbers for which inverting the distribution gives the recorded one-hot samples.

    Args:
        prob: (..., K).
        sample: (..., K), one-hot.
    """
    upper = (prob.cumsum(-1) * sample).sum(-1)
    return upper - 0.5 * (prob * sample).sum(-1)


def assert_grads(module: nn.Module, grads: dict[str, Tensor], rtol: float) -> float:
    """Each gradient within rtol of its norm; gives the largest error relative to that norm."""
    largest = 0.0
    for name, param in module.named_parameters():
        expected = grads[name]
        assert param.grad is not None, name
        error = (param.grad - expected).norm()
        assert error <= rtol * expected.norm() + 1e-9, f"{name}: {error} of {expected.norm()}"
        largest = max(largest, float(error / expected.norm().clamp_min(1e-5)))
    return largest
