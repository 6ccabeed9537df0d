"""Everything that the model of the landscape supposes before it has seen a training.

All lengths of scores are in tolerances, and all distances of rates in ln(max_lr), so that a metric in other
units, or a grid at other rates, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The model's settings; those in tuples are combined, and weighted by what the trainings say of them.

    Attributes:
        clip: A score so many tolerances below the best of its cycle is as bad as any below it; right of the
            best such a training has collapsed.
        noise: Standard deviation of a training's own noise, by the one estimated from the replicates.
        noise_level: The same in tolerances, where no replicates tell it.
        amplitude: Standard deviation of the curve of scores over the rates, in tolerances.
        length: Distance over which that curve bends.
        rho: Correlation of the curve with the next cycle's.
        warp: The curve bends evenly over max_lr^warp, so a little more at higher rates; 0 for ln(max_lr).
        replicate: Variance of a replicate's effect, common to its rates, by the noise's.
        shared: Share of the noise's variance that neighbouring rates of a replicate have in common.
        shared_length: Distance over which they do.
        lasting: Share of the noise's variance that a rate of a replicate keeps from cycle to cycle, as it
            sees the same batches and validation examples in each: no number of cycles averages it out.
        widths: Width of the edge over which trainings collapse.
        drift: Standard deviation of the edge's move to the next cycle.
        depth: How far a collapsed training lies below the best, in tolerances.
        jump: Chance that a cycle's curve, or its edge, has nothing to do with the last one's.
    """

    clip: float = 6.0
    noise: tuple[float, ...] = (0.4, 0.6, 0.85, 1.2, 1.8, 2.8)
    noise_level: float = 0.8
    amplitude: tuple[float, ...] = (0.8, 2.0, 5.0)
    length: tuple[float, ...] = (0.4, 0.8, 1.5, 2.5)
    rho: tuple[float, ...] = (0.9, 0.97)
    warp: float = 0.2
    replicate: float = 0.6
    shared: tuple[float, ...] = (0.25, 0.65)
    shared_length: float = 0.45
    lasting: float = 0.1
    widths: tuple[float, ...] = (0.04, 0.08, 0.14, 0.22)
    drift: float = 0.12
    depth: float = 40.0
    jump: float = 0.03


PRIOR = Prior()
