"""How much the tests try: a sample by default, ten times as much where ORACLE_TESTS_THOROUGH is set."""

import os

THOROUGH = bool(os.environ.get("ORACLE_TESTS_THOROUGH"))


def tries(count: int) -> int:
    """So many by default."""
    return 10 * count if THOROUGH else count
