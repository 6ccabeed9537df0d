"""What the figures of a fit's region share: names, and curves as points among the parameters."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.style import GREEN, PURPLE, VERMILLION, plain_rate_text
from silo.curve import SiloCurve
from silo.fit import CurveFit

PARAMETERS = {"beta": "steepness β", "epsilon": "start ε (max_lr)", "delta": "rise δ (max_lr)"}
"""The parameters beside q, as the axes call them."""

SEAM = {"color": "white", "width": 1}
"""Around a marker, so that those that lie on each other can be told apart."""

_REACH = 4.0
"""How many times beyond what else is shown a highest δ may stretch its axis."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Curves as points among the parameters.

    Attributes:
        name: As the legend calls them.
        curves: The curves.
        color: Their colour.
        symbol: Their symbol.
    """

    name: str
    curves: tuple[SiloCurve, ...]
    color: str
    symbol: str


def marks_of(fit: CurveFit, predicted: SiloCurve | None) -> list[Mark]:
    """For each q the curve that is farthest from all ends, the least-squares curve and the predicted one."""
    central = tuple(region.curve for region in fit.regions if not region.empty)
    marks = [
        Mark(name="farthest from all ends", curves=central, color=PURPLE, symbol="circle"),
        Mark(name="least squares", curves=(fit.curve,), color=GREEN, symbol="diamond"),
    ]
    if predicted is not None:
        marks.append(Mark(name="predicted", curves=(predicted,), color=VERMILLION, symbol="square"))
    return [mark for mark in marks if mark.curves]


def delta_end(fit: CurveFit, predicted: SiloCurve | None) -> float:
    """Where an axis of δ ends: beyond all that is not out of proportion."""
    ranges = [ends for region in fit.regions if (ends := region.shown("delta")) is not None]
    near = [low for low, _ in ranges] + [region.epsilon[1] for region in fit.regions if region.epsilon]
    near += [fit.curve.max_lr(0)] + ([predicted.delta] if predicted is not None else [])
    far = [fit.curve.delta, *(high for _, high in ranges)]
    return 1.08 * max(value for value in (*near, *far) if value <= _REACH * max(near))


def titled(title: str, own: str) -> str:
    """A figure's own title behind what was fitted."""
    return f"{title}: {own}" if title else own[0].upper() + own[1:]


def short(value: float) -> str:
    """A parameter as text. ``+ 0.0`` turns the -0 of a flat curve into 0."""
    return plain_rate_text(value + 0.0)
