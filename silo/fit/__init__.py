"""SILO's curve fitted to an Oracle's result, with what the data cannot tell.

``fit_curve`` is the way in. Beside it, for the same data: ``rivals`` fits other curves. The solvers behind
them take arrays and trust their arguments: ``least_squares`` checks what a user gave, lays it out and finds
the best members of a family of curves, ``branch_and_bound`` over β proves what the intervals allow and
``fewest_misses`` how few of them a curve can miss, and ``regions`` states that and fits draws.

A line, in all of these, is ε + δ·s over given shapes s: a curve whose q and β are fixed.
"""

from silo.fit.curve_fit import CurveFit, fit_curve

__all__ = ["CurveFit", "fit_curve"]
