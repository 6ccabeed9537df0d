"""Spec and state of a search that a ledger holds."""

from __future__ import annotations

from pydantic import ValidationError

from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.ledger.choices import read_choices
from oracle.ledger.rounds import read_rounds
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
    """The state of a search, from what its ledger holds."""
    rules, choices = search_rules(recorded_spec(record), record), read_choices(ledger, record.name)
    search = Search(rules, choices, read_rounds(ledger, record.name) if rules.policy.selective else {})
    search.restore(ledger.outcomes(record.name).values(), ledger.prunings(record.name))
    return search
