"""Recorded landscapes, to replay searches from: README.md says how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from silo._arrays import FloatArray

NAMES = ("digits-weight-rewinding-40", "digits-lr-rewinding-24")
# A training this far below its cycle's best mean collapsed, or stands where others do.
_FAR = 0.03


@dataclass(frozen=True, eq=False)
class Recorded:
    """A landscape of which every replicate is known.

    Attributes:
        rates: (n,), max_lr, ascending.
        accuracies: (cycles, n, replicates), shares.
    """

    rates: FloatArray
    accuracies: FloatArray

    @property
    def truth(self) -> FloatArray:
        """(cycles, n), the mean over all replicates."""
        return np.asarray(self.accuracies.mean(axis=2))

    def smooth(self, degree: int = 4) -> Recorded:
        """Shifts each rate's accuracies, so that their mean is a polynomial in ln(max_lr) per cycle.

        The replicates keep their deviations from the mean, but the mean loses its noise, which with 40
        replicates is 0.06 %. Rates at which several replicates collapse stay as they are.
        """
        x = np.log(self.rates)
        shifted = self.accuracies.copy()
        for cycle, means in zip(shifted, self.truth, strict=True):
            low = means.max() - _FAR
            calm = (means > low) & ((cycle < low).sum(axis=1) <= 1)
            first = last = int(np.where(calm, means, -1).argmax())
            while first and calm[first - 1]:
                first -= 1
            while last < len(x) - 1 and calm[last + 1]:
                last += 1
            run = slice(first, last + 1)
            fitted = np.polynomial.Polynomial.fit(x[run], means[run], max(0, min(degree, last - first - 2)))
            if last - first >= 3:
                cycle[run] += (fitted(x[run]) - means[run])[:, None]
        return Recorded(self.rates, shifted)


def recorded(name: str) -> Recorded:
    """One of ``NAMES``."""
    with np.load(Path(__file__).parent / f"{name}.npz") as file:
        return Recorded(file["rates"], file["correct"] / float(file["examples"]))
