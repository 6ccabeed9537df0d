"""The origin of a report's numbers, their use, and their reproduction, as texts and rows for its template."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML

from dashboards.style import percent_text, plain_rate_text
from oracle.ledger import Run
from oracle.results import Results
from oracle.results.recommendation import curve_code
from oracle.spec_parts import ComponentSpec, NetworkSpec
from silo.curve import SiloCurve
from trials.recipe import Execution
from trials.secrets import without_secrets

_OWN = "silo-oracle"


def usage(curve: SiloCurve) -> str:
    """Python that gives a curve's rates."""
    return (
        "from silo import SiloCurve\n"
        f"curve = {curve_code(curve)}\n"
        "max_lr = curve.max_lr(cycle)  # cycle: how often the network has been pruned"
    )


def provenance(results: Results) -> dict[str, Any]:
    """The search's settings, runs and commands, by the names that the template has for them."""
    runs = results.recorded_runs
    file = f"{re.sub(r'[^A-Za-z0-9._-]', '_', results.name)}.yaml"
    pins = _pins(runs)
    commands = [*([pins] if pins else []), f"oracle run {file}  # the spec below, saved under this name"]
    return {
        "facts": [[name, text] for name, text in _facts(results) if text],
        "commands": "\n".join(commands),
        "computed": _computed(results.execution) if results.execution else "",
        "spec": spec_yaml(results),
        "runs": [_run(run) for run in runs],
        "errors": [
            (f"Error of the run of {_when(run.started)}", without_secrets(run.error))
            for run in runs
            if run.error
        ],
    }


def _facts(results: Results) -> list[tuple[str, str]]:
    spec, runs = results.search_spec, results.recorded_runs
    replicates = f"{spec.replicates} replicate{'s' * (spec.replicates != 1)}"
    cycles = f"{spec.cycles} cycle{'s' * (spec.cycles != 1)}"
    length = f"{spec.training.epochs} epochs" if spec.training.epochs else f"{spec.training.iterations} steps"
    return [
        ("network", _component(spec.network)),
        ("its initial weights", _initial(spec.network)),
        ("data set", _component(spec.dataset)),
        ("rates", f"{_rates(results)}, {replicates}"),
        (
            "pruning",
            f"{cycles}: {_component(spec.pruning.pruner)}, {_shares(spec.pruning.rate)} of "
            f"the remaining weights each time, then {spec.retraining.replace('_', ' ')}",
        ),
        (
            "training",
            f"{length}, batches of {spec.training.batch_size}, {_component(spec.training.optimizer)}, "
            f"schedule {_component(spec.training.schedule)}",
        ),
        ("machines", ", ".join(dict.fromkeys(run.host for run in runs))),
        ("GPUs", ", ".join(sorted({trial.gpu for trial in results.outcomes} - {""}))),
        ("dates", _dates(runs)),
        ("versions", _versions(runs[-1]) if runs else ""),
    ]


def _shares(rate: float | tuple[float, ...]) -> str:
    return percent_text(rate) if isinstance(rate, float) else ", ".join(map(percent_text, rate))


def _rates(results: Results) -> str:
    if not results.searched:
        return f"policy {_component(results.search_spec.policy)}"
    span = results.span
    ends = f"{plain_rate_text(span.low)} to {plain_rate_text(span.high)}"
    tried = [candidate.max_lr for row in results.decided for candidate in row.candidates]
    low, high = min(tried, default=span.low), max(tried, default=span.high)
    wider = low < span.low or high > span.high
    reached = f", extended to {plain_rate_text(low)} to {plain_rate_text(high)}" if wider else ""
    candidates = f"{results.policy.candidates} candidates for {results.measure.searched}"
    return f"{candidates}, {ends}{reached}, {span.scale}"


def _component(given: ComponentSpec) -> str:
    shown: dict[str, Any] = without_secrets(given.arguments)
    arguments = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in shown.items())
    return f"{given.name}({arguments})" if arguments else given.name


def _initial(network: NetworkSpec) -> str:
    """The file that they come from; empty where they come from none."""
    if (weights := network.checkpoint) is None:
        return ""
    left = f", without {', '.join(weights.leave_out)}" if weights.leave_out else ""
    return f"{without_secrets(weights.file)}{left}"


def _dates(found: tuple[Run, ...]) -> str:
    if not found:
        return ""
    last = max(run.ended or run.started for run in found)
    first, end = _when(min(run.started for run in found))[:10], _when(last)[:10]
    return first if first == end else f"{first} to {end}"


def _pins(found: tuple[Run, ...]) -> str:
    """The command that installs the last run's versions: this package is in no index, but has its source."""
    versions = dict(found[-1].versions) if found else {}
    versions.pop("python", None)
    if (own := versions.pop(_OWN, None)) is None:
        return ""
    others = [f"'{name}=={text.partition('+')[0]}'" for name, text in versions.items()]
    return f"{' '.join(['pip install .', *others])}  # in the source of {_OWN} {own}"


def _versions(run: Run) -> str:
    return ", ".join(f"{package} {version}" for package, version in run.versions.items())


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _took(run: Run) -> str:
    if run.ended is None:
        return "–"
    minutes, seconds = divmod(max(round(run.ended - run.started), 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _run(run: Run) -> list[str]:
    return [_when(run.started), _took(run), run.state, run.driver, run.host, _versions(run)]


def _computed(execution: Execution) -> str:
    """The way in which the trainings were computed, and how to have them computed the same way again."""
    fields: dict[str, Any] = {
        "pack": execution.pack_size,
        "compile": execution.compiled,
        "channels_last": execution.channels_last,
    }
    if execution.captured:
        fields["cuda_graph"] = "streams" if execution.streams else "pack"
    fixed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())
    return (
        f"Trainings were computed with {execution}. Another way gives the same numbers but for rounding; "
        f"to repeat this one elsewhere, set in the spec's training: {fixed}."
    )


def spec_yaml(results: Results) -> str:
    """The spec as a file that can be run again."""
    buffer = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = None  # what holds no mapping or list stands on one line
    yaml.width = 1_000_000
    yaml.dump(results.spec, buffer)
    return buffer.getvalue()
