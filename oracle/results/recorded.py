"""Spec and state of a search that a ledger holds."""

from __future__ import annotations

from pydantic import ValidationError

from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.restoring import Recorded
from oracle.search import Search
from oracle.session import search_rules
from oracle.spec import Spec, recorded_rule


def recorded_spec(record: SearchRecord) -> Spec:
    """The spec that a search was last run with.

    Raises:
        Refused: It is not one that this version reads.
    """
    try:
        return Spec.model_validate({**record.spec, "decide": recorded_rule(record.spec)})
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(
            f"search {record.name!r}: its recorded spec was written by another version of this program "
            f"(field {field!r}: {error.errors()[0]['msg']}); use that version"
        ) from error


def load_search(ledger: Ledger, record: SearchRecord) -> Search:
    """The state of a search, from what its ledger holds.

    Raises:
        Refused: The recorded spec is not one that this version reads, or a row does not belong to the search.
    """
    return Recorded.read(ledger, record.name).search(search_rules(recorded_spec(record), record), record)
