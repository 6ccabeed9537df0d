"""What a search says beyond the comparison: how sure it is, what it cost, what happened inside."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.comparison import Comparison
from oracle.ledger import Run
from silo.fit import CurveFit
from silo.rivals import RivalTable
from trials.diagnostics import Histogram


@dataclass(frozen=True, kw_only=True)
class PolicyCost:
    """What one way to set the rates costs on this search's network, and what it reaches.

    Attributes:
        policy: What sets the rates, in a few words.
        trainings: Networks that are trained in all decided cycles and replicates.
        worker_hours: Hours of one worker that they take.
        measured: Whether it was run; else it is estimated from the trainings of the Oracle.
        test_accuracies: Per decided cycle, mean over the replicates, in [0, 1]; None where it is not known.
        explanation: Where the numbers come from, in a sentence.
    """

    policy: str
    trainings: int
    worker_hours: float
    measured: bool
    test_accuracies: tuple[float | None, ...]
    explanation: str


@dataclass(frozen=True, kw_only=True)
class CycleDistributions:
    """Gradients and hidden representations of one cycle's selected networks (Fig. 1 of the SILO paper).

    Attributes:
        cycle: m.
        density: Share of the prunable weights that are left, in (0, 1].
        max_lr: Peak learning rate that the networks were trained with.
        gradient_std: Standard deviation of the weights' gradients, mean over the replicates.
        update_std: The same times ``max_lr``.
        representation_std: Standard deviation of the hidden representations; NaN without hidden layers.
        activation_norm: Average activation norm (Definition 1); NaN without hidden layers.
        gradient_norm: Average gradient norm of the last epoch (Definition 2); NaN if there was none.
        gradients: Histogram of the first replicate's gradients; None if its file is gone.
        representations: Likewise of its hidden representations.
    """

    cycle: int
    density: float
    max_lr: float
    gradient_std: float
    update_std: float
    representation_std: float
    activation_norm: float
    gradient_norm: float
    gradients: Histogram | None
    representations: Histogram | None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that figures, tables, exports and the report are made from.

    Attributes:
        comparison: Optimum, interval and curves per cycle.
        fit: The fitted curve with its bootstrap, where there are several replicates; None without a search
            or before the first decided cycle.
        rivals: Other curves fitted to the same; None where there is no fit.
        costs: What the Oracle, SILO and a hill climb cost and reach; empty before the first decided cycle.
        distributions: One per decided cycle whose statistics were asked for, ascending; else empty.
        diagnosed: Rate per cycle of ``distributions`` that their statistics predict; empty without them.
        runs: The search's runs, oldest first.
    """

    comparison: Comparison
    fit: CurveFit | None = None
    rivals: RivalTable | None = None
    costs: tuple[PolicyCost, ...] = ()
    distributions: tuple[CycleDistributions, ...] = ()
    diagnosed: tuple[float, ...] = ()
    runs: tuple[Run, ...] = ()
