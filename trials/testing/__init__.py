"""Contracts to hold a network, an optimizer or a pruner of your own to, in a test of yours.

::

    from trials.testing import check_network, check_optimizer, check_pruner

    def test_my_pruner():
        check_pruner("my_package.pruners:by_age", {"half_life": 3}, scope="global")

    def test_my_optimizer():
        check_optimizer("my_package.optimizers:Lion", {"beta": 0.9})

    def test_my_network():
        check_network("my_package.networks:mlp", {"width": 64}, input_shape=(3, 8, 8), num_classes=4)

Each raises AssertionError with a line that says what doesn't hold. The networks, optimizers and pruners of
this project pass the same suites.
"""

from trials.testing.networks import check_network
from trials.testing.optimizers import check_optimizer
from trials.testing.pruners import check_pruner

__all__ = ["check_network", "check_optimizer", "check_pruner"]
