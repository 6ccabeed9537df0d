"""Intervals around a curve, and the checks that every fit passes, whatever the input."""

from collections.abc import Iterable, Sequence

from silo import CurveFit, CycleInterval, Region, SiloCurve
from silo.measured import SLACK


def around(
    curve: SiloCurve, cycles: Iterable[int], *, width: float = 0.1, moved: tuple[int, ...] = ()
) -> list[CycleInterval]:
    """Noise-free: the optimum of each cycle is the curve's; that of a moved cycle is a tenth more."""
    rates = [(int(m), curve.max_lr(float(m)) * (1.1 if m in moved else 1)) for m in cycles]
    return [CycleInterval(cycle=m, optimum=r, low=r * (1 - width), high=r * (1 + width)) for m, r in rates]


def check_regions(fit: CurveFit, result: Sequence[CycleInterval]) -> None:
    """Whether the regions, their curves and the least-squares curve contradict each other."""
    for region in fit.regions:
        assert region.missed_cycles == missed_by(region.curve, result)
        assert region.empty == bool(region.missed_cycles) == (region.margin < 0)
        assert {region.beta is None, region.epsilon is None, region.delta is None} == {region.empty}
        for curve in (region.curve, fit.curve):
            # What is only inside by the slack may be beyond what is proven of the others.
            if curve.q == region.q and not missed_by(curve, result, slack=0.0):
                assert not region.empty and has(region, curve, max(i.high for i in result))
    assert len(fit.missed_cycles) <= len(missed_by(fit.curve, result))


def missed_by(curve: SiloCurve, result: Sequence[CycleInterval], slack: float = SLACK) -> tuple[int, ...]:
    """The cycles whose intervals the curve is outside of, ascending."""
    return tuple(sorted(i.cycle for i in result if not i.compatible(curve.max_lr(i.cycle), slack)))


def has(region: Region, curve: SiloCurve, top: float) -> bool:
    """Whether the curve's numbers are in the region's ranges, which may fall a little short."""
    ranges = {"beta": region.beta, "epsilon": region.epsilon, "delta": region.delta}
    return all(
        ends is not None
        and ends[0] * (1 - 2e-4) - 1e-12 * top <= getattr(curve, name) <= ends[1] * (1 + 2e-4) + 1e-12 * top
        for name, ends in ranges.items()
    )
