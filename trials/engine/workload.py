"""A search as the choice of an execution sees it: its trainings, and what is fixed of how to compute them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from trials.recipe import Execution


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The parts of an execution that are fixed beforehand; None leaves one to be chosen.

    Attributes:
        pack: Most candidates that are trained together.
        compile: Whether a whole step is one compiled graph.
        cuda_graph: Whether steps are recorded on CUDA: one graph for a pack, or one for each candidate.
        channels_last: Whether images lie in memory with their channels innermost.
    """

    pack: int | None = None
    compile: bool | None = None
    cuda_graph: Literal["off", "pack", "streams"] | None = None
    channels_last: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A search's trainings, as far as their number and place count.

    Attributes:
        cycles: Cycles of the search.
        candidates: Candidates of a cycle, as long as its grid doesn't extend.
        replicates: Independent seeds.
        workers: Workers at a time, among which a cycle's packs are shared out.
        device: Type of the workers' device, for example ``cpu``.
    """

    cycles: int
    candidates: int
    replicates: int
    workers: int
    device: str = "cpu"

    @property
    def trainings(self) -> int:
        """All of them."""
        return self.cycles * self.candidates * self.replicates

    def packs(self, size: int) -> int:
        """Packs of a cycle, of at most ``size`` candidates."""
        return math.ceil(self.candidates / size) * self.replicates

    def rounds(self, size: int) -> int:
        """Packs of a cycle that one worker trains, one after another."""
        return math.ceil(self.packs(size) / self.workers)


class ChosenExecution(NamedTuple):
    """How to compute a search's trainings.

    Attributes:
        execution: How.
        reason: Why, in words.
        graphs: The graphs that were compiled for it: see :class:`trials.engine.Engine`.
    """

    execution: Execution
    reason: str
    graphs: tuple[str, ...]
