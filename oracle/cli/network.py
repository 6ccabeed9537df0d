"""The command that writes a trained network as a file, to be used without this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from oracle.cli.show import LEDGER, TARGET, TRUST, open_search, own_spec
from oracle.cli.specs import JSON, echo_json
from oracle.measure import Measure
from oracle.results import Results
from trials.tasks import Metric


@click.command()
@TARGET
@LEDGER
@click.option("--cycle", type=int, help="Times that it has been pruned; by default the last decided cycle.")
@click.option("--replicate", type=int, help="By default that with the best validation score.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file: .safetensors, .pt, or .onnx (needs silo-oracle[onnx]).",
)
@TRUST
@JSON
def network(
    target: str,
    ledger: str | None,
    cycle: int | None,
    replicate: int | None,
    out: Path,
    trust: bool,
    as_json: bool,
) -> None:
    """Write a pruned, trained network as a file to take home.

    That of the rate that was chosen. It builds the network. Code of your own is taken from your spec file; by
    its name alone a search's code is what the ledger says, and is run with --trust only.

    \b
    Example:
      oracle network mine.yaml -o net.safetensors
    """
    from trials.network_file import check_kind

    check_kind(out)
    opened, record = open_search(target, ledger)
    results = Results.read(opened, record, own=own_spec(target, record))
    found = results.trained_network(cycle, replicate, trust=trust)
    found.write(out)
    facts = found.metadata
    if as_json:
        echo_json({**facts, "file": str(out)})
        return
    click.echo(
        f"Wrote {out}: cycle {facts['cycle']}, replicate {facts['replicate']}, "
        f"{results.measure.searched} {facts[results.measure.searched]:.4g}, "
        f"{100 * facts['density']:.3g} % of the prunable weights left, test {facts['metric']} {_score(facts)}"
    )
    if "mean" in facts:
        scale = f"x / {facts['scale']}" if facts["scale"] != 1 else "x"
        click.echo(f"It takes inputs as ({scale} - mean) / std: mean {facts['mean']}, std {facts['std']}")


def _score(facts: Mapping[str, Any]) -> str:
    score = facts["test_score"]
    measure = Measure(metric=Metric(name=facts["metric"]))
    return "not known" if score is None else measure.quantity(score)
