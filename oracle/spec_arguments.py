"""The arguments of what a spec names: JSON-able data within bounds, and without secrets."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from oracle.bounds import check_size
from silo.errors import InvalidInput
from trials.references import check_references
from trials.secrets import secret_in

RECORDED = "recorded"
"""Context of the validation of a spec that was taken already: what it holds is hidden where it is shown."""


def _checked(arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    try:
        check_size(arguments)
        check_references(arguments)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    if info.context != RECORDED and (found := secret_in(arguments)):
        raise ValueError(
            f"a secret seems to stand in {found}, and would stand in the ledger and in reports; give "
            "${env:NAME} or ${file:/PATH} in its place, which workers look up"
        )
    return arguments


Arguments = Annotated[dict[str, Any], AfterValidator(_checked)]
"""Keyword arguments. ``${env:NAME}`` and ``${file:/PATH}`` stand for what a worker has,
such as a password, which is then recorded nowhere, and plays no part in a search's identity."""
