"""SILO's curve fitted to an Oracle's result, with what the data cannot tell.

``fit_curve`` is the way in. Beside it, for the same data: ``rivals`` fits other curves, and ``drawn_fits``
fits draws of what the trainings tell. The solvers behind them take arrays and trust their arguments:
``problem`` checks what a user gave and lays it out, ``families`` has the curves, ``least_squares`` their
best members, ``regions`` what the intervals allow, from ``parameter_ranges`` and ``fewest_misses`` (proofs,
by ``branch_and_bound`` over β) and ``widest_margin``; ``notes`` puts the rest in words.

A line, in all of these, is ε + δ·s over given shapes s: a curve whose q and β are fixed.
"""

from silo.fit.curve_fit import CurveFit, fit_curve

__all__ = ["CurveFit", "fit_curve"]
