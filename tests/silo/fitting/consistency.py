"""What must hold of every fit, whatever the input."""

from collections.abc import Sequence

from silo import CurveFit, CycleInterval, Region, SiloCurve


def check_regions(fit: CurveFit, result: Sequence[CycleInterval]) -> None:
    """Whether the regions, their curves and the least-squares curve contradict each other."""
    for region in fit.regions:
        assert region.missed_cycles == missed_by(region.curve, result)
        assert region.empty == bool(region.missed_cycles) == (region.margin < 0)
        assert {region.beta is None, region.epsilon is None, region.delta is None} == {region.empty}
        assert region.empty or has(region, region.curve)
    assert len(fit.missed_cycles) <= len(missed_by(fit.curve, result))
    of_its_q = next(region for region in fit.regions if region.q == fit.curve.q)
    assert missed_by(fit.curve, result) or has(of_its_q, fit.curve)


def missed_by(curve: SiloCurve, result: Sequence[CycleInterval]) -> tuple[int, ...]:
    """The cycles whose intervals the curve is outside of, ascending."""
    return tuple(sorted(i.cycle for i in result if not i.compatible(curve.max_lr(i.cycle))))


def has(region: Region, curve: SiloCurve) -> bool:
    """Whether the curve's numbers are in the region's ranges, which may fall a little short."""
    return all(
        ends is not None and ends[0] * (1 - 2e-4) - 1e-12 <= getattr(curve, name) <= ends[1] * (1 + 2e-4)
        for name, ends in (("beta", region.beta), ("epsilon", region.epsilon), ("delta", region.delta))
    )
