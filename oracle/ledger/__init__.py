"""The ledger: the SQL database that is the truth about every search.

Each (search, cycle) has an Optuna study with one row per finished trial; a trial that has not
finished has no row, so that nothing can be left behind half done. A row is written in one transaction.
"""

from oracle.ledger.database import Retries, Run, SearchRecord
from oracle.ledger.ledger import Ledger

__all__ = ["Ledger", "Retries", "Run", "SearchRecord"]
