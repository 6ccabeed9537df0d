"""The mark that a search's storage carries: of which ledger the search is whose networks lie there.

Two ledgers that give a search the same name and the same storage would delete each other's networks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from oracle.errors import Refused
from oracle.ledger import Ledger
from trials.secrets import without_secrets

if TYPE_CHECKING:
    from trials.checkpoints import Store

MARK = ".oracle-search.json"


def claim_storage(store: Store, ledger: Ledger, search: str) -> None:
    """Marks a storage as that of a ledger's search; one that has no mark yet is taken as it is.

    A ledger or a storage that was moved, or both copied together, are marked anew.

    Raises:
        Refused: It is that of another search, or of another ledger's.
    """
    shown = without_secrets(store.root)
    own = {"search": search, "ledger": ledger.identity(), "place": ledger.place(), "storage": shown}
    data = json.dumps(own).encode()
    found = store.claim(MARK, data)
    if found == data:
        return
    try:
        mark = {name: str(json.loads(found)[name]) for name in own}
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(
            f"storage {shown}: its mark {MARK} can't be read; delete that file if the networks there are "
            f"those of search {search!r} in this ledger, or name another storage"
        ) from error
    if (mark["search"], mark["ledger"]) != (search, own["ledger"]):
        raise Refused(
            f"storage {shown} holds the networks of search {mark['search']!r} of another ledger, "
            f"{mark['place']}; give this search another name or storage, or delete that folder if nobody "
            "needs them any more"
        )
    if mark["storage"] == own["storage"] and _is_another_file(mark["place"], str(own["place"])):
        raise Refused(
            f"storage {shown} holds the networks of the ledger {mark['place']}, of which this one is a copy; "
            "name another storage, or go on with that ledger"
        )
    store.write_bytes(MARK, data)


def _is_another_file(one: str, other: str) -> bool:
    """Whether two places are files that are both there, and not the same."""
    there = Path(one).is_file() and Path(other).is_file()
    return there and not os.path.samefile(one, other)
