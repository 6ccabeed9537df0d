"""Shows a search in TensorBoard: ``observers: [{name: tensorboard, arguments: {folder: runs}}]``."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracle.cycles import Cycle
from oracle.observers import Observer, cycle_numbers
from silo.errors import InvalidInput
from trials.paths import expanded
from trials.tasks import Trial

if TYPE_CHECKING:
    from oracle.session import Session

_MILLIONTHS = 1e6


class TensorBoard(Observer):
    """Writes event files below ``folder/NAME``.

    Optimum, interval, scores and density are scalars over the cycles; each finished trial is a point of
    ``trial/validation_accuracy`` over their count (or of your metric, by its name); a decided cycle's mean
    scores over the rates are a run of their own, ``NAME/cycle-03``, whose steps are peak learning rates in
    millionths.

    Each finished trial's curve is a run of its own, ``NAME/cycle-03/max_lr-0.05-replicate-0``, with
    ``curve/validation_accuracy`` and ``curve/train_loss`` over its optimizer steps. Where another number than
    the rate is searched, its name stands in place of ``max_lr``.

    Args:
        folder: Where TensorBoard looks: ``tensorboard --logdir FOLDER``.
        curves: Whether there are these runs: TensorBoard gets slow with thousands of them.

    Raises:
        InvalidInput: tensorboardX is not installed.
    """

    def __init__(self, *, folder: str = "runs", curves: bool = True) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InvalidInput(
                "observer 'tensorboard' needs tensorboardX: pip install 'silo-oracle[tensorboard]'"
            ) from error
        self._curves = curves
        self._folder, self._open = Path(expanded(folder, "folder")), SummaryWriter

    def started(self, session: Session) -> None:
        """Opens the files; into a new folder it writes what is decided already."""
        root = self._root(session)
        is_new = not root.exists()
        self._writer = self._begin(root)
        self._count = session.resumed
        for decision in session.search.decisions if is_new else ():
            self.decided(session, decision)

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        """Adds a point for each trial."""
        measure = session.search.rules.measure
        for outcome in outcomes:
            self._count += 1
            self._writer.add_scalar(f"trial/validation_{measure.key}", outcome.score, self._count)
            self._writer.add_scalar(f"trial/{measure.searched}", outcome.max_lr, self._count)
            if self._curves and outcome.curve.text:
                self._add_curve(session, outcome)

    def decided(self, session: Session, decision: Cycle) -> None:
        """Adds the cycle to the scalars, and its landscape."""
        for name, number in cycle_numbers(session, decision).items():
            self._writer.add_scalar(f"cycle/{name}", number, decision.cycle)
        with self._begin(self._root(session) / f"cycle-{decision.cycle:02d}") as landscape:
            for candidate in decision.candidates:
                step = round(candidate.max_lr * _MILLIONTHS)
                tag = f"landscape/validation_{decision.measure.key}"
                landscape.add_scalar(tag, candidate.score, step)
        self._writer.flush()

    def _add_curve(self, session: Session, trial: Trial) -> None:
        measure = session.search.rules.measure
        place = f"cycle-{trial.cycle:02d}/{measure.searched}-{trial.max_lr!r}-replicate-{trial.replicate}"
        score = f"curve/validation_{measure.key}"
        with self._begin(self._root(session) / place) as writer:
            for point in trial.curve.validations:
                for tag, value in ((score, point.score), ("curve/train_loss", point.train_loss)):
                    if math.isfinite(value):
                        writer.add_scalar(tag, value, point.step)

    def ended(self, session: Session, state: str) -> None:
        """Closes the files."""
        self._writer.add_text("state", state)
        self._writer.close()

    def _begin(self, folder: Path) -> Any:
        """A writer into a file of its own: by default two of one second would be one file.

        Files are read in the order of their names, so that of one second the later must come later.
        """
        return self._open(str(folder), filename_suffix=f".{time.time_ns()}.{uuid.uuid4().hex}")

    def _root(self, session: Session) -> Path:
        return self._folder / session.spec.name
