"""Gradients and hidden representations of the selected networks per cycle, and the rates that they predict.

Source: Liu, Ghosh, Tan, Motani: Optimizing Learning Rate Schedules for Iterative Pruning of Deep Neural
Networks, TMLR 08/2023, arXiv 2212.06144, Fig. 1, Section 3.1, Definitions 1 and 2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from oracle.cycles import Cycle
from silo.errors import SiloOracleError
from trials.tasks import STATISTICS, StoredFile, TrialDiagnostics

if TYPE_CHECKING:
    from trials.checkpoints import Store
    from trials.diagnostics import Histogram


@dataclass(frozen=True, kw_only=True)
class CycleDistributions:
    """Gradients and hidden representations of one cycle's selected networks (Fig. 1 of the SILO paper).

    Attributes:
        cycle: m.
        density: Share of the prunable weights that are left, in (0, 1].
        max_lr: Peak learning rate that the networks were trained with.
        means: The trials' statistics, mean over the replicates; NaN where a replicate's is.
        gradients: Histogram of the first replicate's gradients; None if its file is gone.
        representations: Likewise of its hidden representations.
    """

    cycle: int
    density: float
    max_lr: float
    means: TrialDiagnostics
    gradients: Histogram | None
    representations: Histogram | None


def cycle_distributions(cycles: Sequence[Cycle], storage: str) -> tuple[CycleDistributions, ...]:
    """The statistics of the cycles whose selected networks have some.

    Args:
        cycles: The decided cycles, ascending.
        storage: Folder or URI of the search's files. A file that is missing, damaged or out of reach leaves
            its cycle without histograms.
    """
    noted = [[t.diagnostics for t in each.selected.trials if t.diagnostics] for each in cycles]
    files = _Files(storage) if any(noted) else None
    pairs = zip(cycles, noted, strict=True)
    return tuple(_distributions(each, notes, files) for each, notes in pairs if notes and files)


def diagnosed_rates(distributions: Sequence[CycleDistributions]) -> tuple[float, ...]:
    """max_lr(m) = max_lr(0)·σ(0) / σ(m), σ the standard deviation of the weights' gradients.

    Section 3.1 (3) of the paper: a weight moves by α·∂L/∂w. The rate of the dense network is taken to be well
    tuned; gradients get narrower as the network is pruned (Fig. 1a: from 8.4e-3 to 3.3e-3 at 13.4 % of the
    weights), and "to preserve the same weight updating size" the rate is to grow by as much. So this is the
    rate at which the updates of the peak are as wide as the dense network's. Remark 2 wants the average
    gradient norm (Definition 2) kept likewise, by a bound of unknown constants: ``silo.theory.max_lr_bound``.

    What it leaves out: σ is measured at the best validation (Fig. 1: "when the network converges"), while the
    peak rate acts early; and on networks that were trained with their own cycle's optimum. A network that
    fits its data worse has wider gradients however sparse it is, and the rate then falls: in the demo on
    digits σ grows fivefold by cycle 15, while the Oracle's rate rises threefold. The argument is about plain
    SGD: momentum changes all cycles alike, an optimizer that scales its gradients undoes it.

    Args:
        distributions: Those of a search, ascending; the first one stands for the dense network.

    Returns:
        A learning rate per cycle; NaN where no gradient spreads, so that nothing follows.
    """
    if not distributions:
        return ()
    dense = distributions[0]
    return tuple(
        _scaled(dense.max_lr, dense.means.gradient_std, each.means.gradient_std) for each in distributions
    )


def _scaled(rate: float, dense: float, pruned: float) -> float:
    if not (0 < dense < math.inf and 0 < pruned < math.inf):
        return math.nan
    return rate * (dense / pruned)


def _distributions(cycle: Cycle, notes: Sequence[TrialDiagnostics], files: _Files) -> CycleDistributions:
    means: dict[str, Any] = {
        name: math.fsum(getattr(note, name) for note in notes) / len(notes) for name in STATISTICS
    }
    gradients, representations = files.histograms(notes[0].file)
    return CycleDistributions(
        cycle=cycle.cycle,
        density=cycle.density,
        max_lr=cycle.chosen,
        means=replace(notes[0], **means),
        gradients=gradients,
        representations=representations,
    )


class _Files:
    """The files with the histograms; a storage that is out of reach is asked once."""

    def __init__(self, storage: str) -> None:
        from trials.checkpoints import Store  # imports torch

        self._store: Store | None = None
        try:
            self._store = Store(storage)
        except SiloOracleError:
            return

    def histograms(self, file: StoredFile) -> tuple[Histogram | None, Histogram | None]:
        """Of the gradients and of the hidden representations; None for what can't be read."""
        if self._store is None:
            return None, None
        try:
            data = json.loads(self._store.read_bytes(file))
        except (SiloOracleError, ValueError):
            return None, None
        except OSError:
            self._store = None
            return None, None
        return _histogram(data.get("gradients")), _histogram(data.get("representations"))


def _histogram(data: Any) -> Histogram | None:
    from trials.diagnostics import Histogram

    if data is None:
        return None
    return Histogram(low=data["low"], high=data["high"], counts=tuple(data["counts"]))
