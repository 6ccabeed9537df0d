"""Policies: what sets ``max_lr`` at each cycle, by a search or by one rate that is known without one."""

from oracle.policies.adaptive import AdaptivePolicy
from oracle.policies.edge import EdgePolicy
from oracle.policies.exhaustive import OraclePolicy
from oracle.policies.make import make_policy
from oracle.policies.one_rate import AllrPolicy, CurvePolicy, FixedPolicy
from oracle.policies.protocol import CycleState, Policy, Round, Span

__all__ = [
    "AdaptivePolicy",
    "AllrPolicy",
    "CurvePolicy",
    "CycleState",
    "EdgePolicy",
    "FixedPolicy",
    "OraclePolicy",
    "Policy",
    "Round",
    "Span",
    "make_policy",
]
