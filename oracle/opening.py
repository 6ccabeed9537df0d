"""Finding a search by its name in the database that holds it."""

from __future__ import annotations

from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.spec import Spec

DEFAULT_LEDGER: str = Spec.model_fields["ledger"].default
"""The ledger of a spec that names none."""


def open_recorded(name: str, url: str) -> tuple[Ledger, SearchRecord]:
    """The ledger at a URL, and a search that it holds.

    Raises:
        InvalidInput: The URL is none.
        Refused: There is no ledger, or no such search in it.
    """
    opened = Ledger(url)
    record = opened.search(name)
    if record is None:
        known = ", ".join(found.name for found in opened.searches()) or "none"
        opened.close()
        raise Refused(f"no search {name!r} in this ledger; there are: {known}")
    return opened, record
