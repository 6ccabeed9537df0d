"""How much the tests try: a sample by default, ten times as much where ORACLE_TESTS_THOROUGH is set.

Its value is which: with 2 what is known by its number starts at 1,000 in place of 0, with 3 at 2,000, ….
"""

import os

_ASKED = os.environ.get("ORACLE_TESTS_THOROUGH", "")
THOROUGH = bool(_ASKED)
_FIRST = 1000 * (int(_ASKED) - 1) if _ASKED.isdigit() else 0


def tries(count: int) -> int:
    """So many by default."""
    return 10 * count if THOROUGH else count


def numbers(count: int) -> range:
    """So many numbers, each of which draws one case."""
    return range(_FIRST, _FIRST + count)
