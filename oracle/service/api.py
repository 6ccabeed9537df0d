"""``oracle.run``: a search, or a file's variants, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oracle.errors import TrialsFailed
from oracle.observers import Observer
from oracle.results import Results
from oracle.service.searching import DriverName, searching
from oracle.spec import Spec
from oracle.spec_file import load_variants
from silo.errors import InvalidInput

if TYPE_CHECKING:
    Source = Spec | str | Path


def run(
    spec: Source,
    *,
    driver: DriverName = "ray",
    address: str | None = None,
    observers: Sequence[Observer] = (),
) -> Results:
    """Runs a search, or goes on with it: what the ledger holds is never trained again.

    Everything is checked as ``oracle run`` does it, before anything is written; warnings go to the logger
    ``oracle``. An interrupt keeps every finished trial, and the same call goes on.

    Args:
        spec: A spec, or the YAML file of one.
        driver: ``ray``, or ``in-process`` for this process alone.
        address: Address of a running Ray cluster, ``HOST:PORT``; by default one is started here.
        observers: Who hears of its progress, beside those that the spec names.

    Returns:
        What it has found.

    Raises:
        InvalidInput: The spec is wrong, or has variants.
        Refused: It can't run here and now.
        TrialsFailed: A task failed too often; the rest is in the ledger.
        LedgerFailed: The database stopped answering.
        LeaseLost: Another driver has taken the search over.
    """
    specs = {"": spec} if isinstance(spec, Spec) else load_variants(spec)
    if len(specs) > 1:
        names = ", ".join(each.name for each in specs.values())
        raise InvalidInput(f"{spec}: has several variants ({names}): oracle.run_variants runs them")
    (results,) = _run(specs, driver, address, observers, spec)
    return results


def run_variants(
    path: str | Path,
    *,
    driver: DriverName = "ray",
    address: str | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Results]:
    """Runs the variants of a spec file, on Ray side by side; everything else is as for :func:`run`.

    Returns:
        Variant to what it has found; a file without variants has one, named ``""``.
    """
    specs = load_variants(path)
    return dict(zip(specs, _run(specs, driver, address, observers, path), strict=True))


def _run(
    specs: Mapping[str, Spec],
    driver: DriverName,
    address: str | None,
    observers: Sequence[Observer],
    source: Source,
) -> list[Results]:
    place = None if isinstance(source, Spec) else source
    with searching(specs, driver=driver, address=address, observers=observers, path=place) as found:
        for search in found:
            if search.error is not None:
                raise TrialsFailed(
                    f"search {search.record.name!r} stops at a cycle whose trials fail; the same call tries "
                    f"them again. First error:\n{search.error}"
                )
        return [Results.read(search.ledger, search.record) for search in found]
