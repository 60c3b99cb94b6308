"""Times one full update: world model, imagination, actor, critic. No environment.

    python benchmarks/update.py --preset small --updates 20

A random batch of 64x64x3 images and 4 continuous actions, fp32, two threads. Prints seconds per
update, parameters and peak memory, and writes a dated record below benchmarks/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch loads its threads

import gymnasium
import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.build import build_device
from harmony.build_agent import build_agent
from harmony.config.compose import compose
from harmony.tracking.provenance import provenance
from harmony.training.seeding import Seeds

NARROW = [f"size.{key}={n}" for key, n in (("depth", 16), ("stoch", 32), ("classes", 32))]
PRESETS = {
    "small": (["size=tiny", *NARROW], 8, 16),
    "medium": (["size=paper"], 16, 50),
    "paper": (["size=paper"], 50, 50),
}
"""Overrides, batch size, batch length."""
WARM_UP = 2


def make_agent(overrides: list[str], device: torch.device, precision: str) -> DreamerAgent:
    """An agent for 64x64x3 images and 4 continuous actions."""
    config = compose([*overrides, "tracking=none", f"precision={precision}"]).config
    space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    return build_agent(config, {"image": (64, 64, 3)}, space, device, Seeds(0))


def make_batch(batch_size: int, length: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A random batch, episodes begin with the sequences."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, length)
    first = torch.zeros(shape, dtype=torch.bool)
    first[:, 0] = True
    batch = {
        "image": torch.randint(0, 256, (*shape, 64, 64, 3), generator=generator, dtype=torch.uint8),
        "action": torch.rand((*shape, 4), generator=generator) * 2 - 1,
        "reward": torch.rand(shape, generator=generator),
        "is_first": first,
        "is_last": torch.zeros_like(first),
        "is_terminal": torch.zeros_like(first),
    }
    return {name: value.to(device) for name, value in batch.items()}


def time_updates(agent: DreamerAgent, batch: dict[str, torch.Tensor], updates: int) -> list[float]:
    """Seconds of each update after a warm-up."""
    seconds: list[float] = []
    for index in range(WARM_UP + updates):
        start = time.perf_counter()
        agent.update(batch)
        if agent.device.type == "cuda":
            torch.cuda.synchronize()
        if index >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    return seconds


def peak_memory_gb(device: torch.device) -> float:
    """Of the device, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    overrides, batch_size, length = PRESETS[args.preset]
    device = build_device(args.device)
    agent = make_agent(overrides, device, args.precision)
    seconds = time_updates(agent, make_batch(batch_size, length, device), args.updates)
    facts = provenance()
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "preset": args.preset,
        "batch": [batch_size, length],
        "updates": args.updates,
        "median_s": round(statistics.median(seconds), 4),
        "min_s": round(min(seconds), 4),
        "max_s": round(max(seconds), 4),
        "parameters": sum(p.numel() for p in agent.parameters()),
        "peak_memory_gb": round(peak_memory_gb(device), 2),
        "device": args.device,
        "precision": args.precision,
        "threads": args.threads,
        "machine": facts["gpu"] if device.type == "cuda" else facts["cpu"] or platform.machine(),
        "torch": torch.__version__,
        "commit": facts["git_commit"],
        "dirty": facts["git_dirty"],
    }
    print(json.dumps(record, indent=2))
    args.results.mkdir(exist_ok=True)
    stamp = record["date"][:19].replace(":", "").replace("-", "")
    path = args.results / f"update_{args.preset}_{args.device}_{stamp}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
