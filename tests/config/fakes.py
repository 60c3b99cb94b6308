"""Classes that the nodes of tests/config/conf name; they stand in as the module harmony.fakes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol


class Cell(Protocol):
    def step(self) -> int: ...


class GRU:
    def __init__(self, units: int, act: Literal["elu", "silu"] = "elu") -> None:
        self.units, self.act = units, act

    def step(self) -> int:
        return self.units


class LSTM(GRU):
    pass


class RSSM:
    def __init__(self, embed_size: int, *, deter: int, cell: GRU, rate: float = 0.5) -> None:
        self.embed_size, self.deter, self.cell, self.rate = embed_size, deter, cell, rate


class BigRSSM(RSSM):
    def __init__(self, embed_size: int, *, deter: int = 99, cell: Cell | None = None) -> None:
        super().__init__(embed_size, deter=deter, cell=cell or GRU(1))


@dataclass(frozen=True)
class Walker:
    task: str
    time_limit: int = 500
    scale: float = 1.0
    camera: int | str | None = None


class Holder:
    def __init__(
        self,
        *,
        cells: Sequence[GRU] = (),
        by_name: Mapping[str, GRU] | None = None,
        make: Callable[..., RSSM] | None = None,
        act: Callable[[float], float] | None = None,
        folder: Path | None = None,
        pair: tuple[int, float] = (0, 0.0),
        kernels: tuple[int, ...] = (),
        **rest: Any,
    ) -> None:
        self.cells, self.by_name, self.make, self.act = cells, by_name, make, act
        self.folder, self.pair, self.kernels, self.rest = folder, pair, kernels, rest


def double(x: float) -> float:
    return 2 * x


def make_gru(units: int) -> GRU:
    return GRU(units)


def unresolvable(x: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    del x
