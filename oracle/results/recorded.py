"""Spec and state of a search that a ledger holds."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from oracle.errors import Refused
from oracle.ledger import Ledger, SearchRecord
from oracle.restoring import Recorded
from oracle.search import Search
from oracle.session import search_rules
from oracle.spec import Spec, recorded_rule
from oracle.spec_arguments import RECORDED
from silo.measured import cycles_in_words
from trials.secrets import without_secrets


def recorded_spec(record: SearchRecord) -> Spec:
    """The spec that a search was last run with.

    Raises:
        Refused: It is not one that this version reads.
    """
    try:
        given = {**record.spec, "decide": recorded_rule(record.spec)}
        return Spec.model_validate(given, context=RECORDED)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(
            f"search {record.name!r}: its recorded spec was written by another version of this program "
            f"(field {field!r}: {error.errors()[0]['msg']}); use that version"
        ) from error


def spec_to_build(record: SearchRecord, own: Spec | None, *, trust: bool) -> Spec:
    """The spec by which a recorded search's network and data set may be built here: see :func:`may_build`."""
    recorded = recorded_spec(record)
    may_build(recorded, own, trust=trust)
    return recorded if own is None else own.model_copy(update={"storage": recorded.storage})


def may_build(recorded: Spec, own: Spec | None, *, trust: bool) -> None:
    """Makes sure that a recorded search's network and data set may be built here.

    Whoever can write the ledger chooses what the recorded spec names, and to build that runs it: so it is the
    user's own spec, or names nothing but what this project has, or the user trusts all who write there.

    Args:
        recorded: Its spec as the ledger has it.
        own: The user's own spec of it; None where a name was given.
        trust: Whether the recorded spec may run whatever it names.

    Raises:
        Refused: It names other code, or the user's own spec is another one.
    """
    if own is not None:
        # As the ledger has it: in Python a list may be a tuple.
        given, known = (without_secrets(each.model_dump(mode="json")) for each in (own, recorded))
        for field in ("network", "dataset", "pruning"):
            if given[field] != known[field]:
                raise Refused(
                    f"search {recorded.name!r} was run with another {field} than this spec has; give the "
                    "spec that it was run with, or its name"
                )
        return
    parts = {"network": recorded.network, "dataset": recorded.dataset}
    foreign = [f"{field} {each.name!r}" for field, each in parts.items() if ":" in each.name]
    if recorded.dataset.arguments.get("download"):
        foreign.append(f"a download of data set {recorded.dataset.name!r}")
    if foreign and not trust:
        raise Refused(
            f"search {recorded.name!r}: the ledger names {' and '.join(foreign)}, which would run here, and "
            "whoever can write the ledger chooses it; give your own spec file of the search in place of its "
            "name, or --trust (in Python, trust=True) if you trust all who can write there"
        )


def load_search(ledger: Ledger, record: SearchRecord) -> Search:
    """The state of a search, from what its ledger holds.

    Raises:
        Refused: The recorded spec is not one that this version reads, or a row does not belong to the search.
    """
    recorded = Recorded.read(ledger, record.name)
    search = recorded.search(search_rules(recorded_spec(record), record), record)
    if undone := recorded.undone(search):
        logging.getLogger("oracle").warning(
            "search %r: %s decided, and rows of what was trained are missing; run it again, which trains "
            "them anew",
            *(record.name, f"{cycles_in_words(undone)} {'was' if len(undone) == 1 else 'were'}"),
        )
    return search
