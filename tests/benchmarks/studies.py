"""The studies' tables and figures, from the trials that are kept beside them.

    python -m tests.benchmarks.studies [digits fc resnet20] [--figures]

A study is a folder of ``oracle/examples/studies``: a spec, what ``oracle export --format brief`` wrote of its
searches, and a page. Each table of the page stands between two marks, and is written anew.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import oracle
from dashboards.figures.rates import comparison_figure
from dashboards.style import images, replace_file
from dashboards.tables.table import Table, markdown_grid, texts
from oracle.results import Results
from oracle.search import Rules
from oracle.spec_parts import ComponentSpec
from oracle.testing.replay import replay
from tests.benchmarks.confidence import Figures, Truth
from tests.benchmarks.images import edges
from tests.benchmarks.landscapes import Recorded

STUDIES = Path(oracle.__file__).parent / "examples" / "studies"
_MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
_DRAWS = 8
_SEARCHES = {"digits": ("truth",), "fc": ("weight", "lr"), "resnet20": ("adaptive",)}
"""Of each study, the searches that are told of cycle by cycle."""
_FOLLOWED = {"digits": "adaptive-1", "fc": "weight", "resnet20": "adaptive"}
"""The search that policies without one stand beside."""
_RUN = (
    ((1,), "r3", ("means", "model")),
    ((1,), "r5", ("means", "model")),
    (range(1, 6), "adaptive", ("model",)),
)
"""Seeds, kind and rules of the digits' searches that were really run beside the truth."""
_TITLES = {"r3": "all rates, r = 3", "r5": "all rates, r = 5", "adaptive": "adaptive, r = 3"}
_RIGHT = {
    "trainings a cycle": "{:.1f}", "optimum loses": "{:.2%}", "Jaccard index": "{:.2f}",
    "both ends ±1": "{:.0%}", "SILO's verdict wrong": "{:.0%}", "can't be told": "{:.0%}",
}  # fmt: skip


@cache
def search(study: str, name: str, replicates: tuple[int, ...] | None = None) -> Results:
    """A study's search, or some replicates of it."""
    return oracle.read_export(STUDIES / study / name, replicates=replicates, draws=0)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], keys: int = 1) -> str:
    """A Markdown table, words on the left."""
    body = tuple(texts(*row) for row in rows)
    align = "l" * keys + "r" * (len(headers) - keys)
    return markdown_grid(Table(title="", headers=tuple(headers), rows=body, align=align, keys=keys))


def cycles_table(results: Results) -> str:
    """Optimum, intervals, edge of collapse and statistics of each cycle."""
    notes, dense = {each.cycle: each.means for each in results.distributions}, results.rates[0]
    headers = [
        "cycle", "λ (%)", "optimum", "surely inside", "maybe inside", "chosen", "test accuracy (%)",
        "edge T", "optimum / T",
    ]  # fmt: skip
    rows = []
    for each, belief, edge in zip(results.decided, results.beliefs, edges(results), strict=True):
        note, best = notes.get(each.cycle), float(belief.rates[belief.optimum()])
        rows.append(
            [
                str(each.cycle), f"{100 * each.density:.3g}", f"{best:.3g}",
                _run(belief.core()), _run(belief.reach()), f"{each.chosen:.3g}",
                results.measure.text(each.selected.test_score, each.selected.test_score_std),
                f"{edge:.3g}", f"{best / edge:.2f}",
                *(
                    []
                    if note is None
                    else [
                        f"{1e3 * note.gradient_std:.2f}", _at(results, each.cycle, dense),
                        f"{note.activation_norm:.3g}",
                    ]
                ),
            ]
        )  # fmt: skip
    spread = "σ of the gradients (×1e-3)"
    statistics = [spread, f"the same at {dense:.3g}", "activation norm"] if notes else []
    return table(headers + statistics, rows)


def _at(results: Results, cycle: int, max_lr: float) -> str:
    """The mean σ of the gradients after trainings with one rate; – where there were none."""
    chosen = (results.trials.cycle == cycle) & (results.trials.max_lr == max_lr)
    found = results.trials.gradient_std[chosen]
    return f"{1e3 * found.mean():.2f}" if len(found) else "–"


def gradients_table(results: Results) -> str:
    """Statistics of the trainings with one rate, mean and deviation over the replicates."""
    trials = results.trials
    rows = []
    for each in results.decided:
        found = trials[trials.cycle == each.cycle]
        sigma, norm = 1e3 * found.gradient_std, found.activation_norm
        rows.append(
            [
                str(each.cycle), f"{100 * each.density:.3g}", f"{sigma.mean():.2f} ± {sigma.std():.2f}",
                f"{norm.mean():.3g} ± {norm.std():.2g}",
            ]
        )  # fmt: skip
    return table(["cycle", "λ (%)", "σ of the gradients (×1e-3)", "activation norm"], rows)


def _run(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"[{ends[0]:.3g}, {ends[1]:.3g}]"


def rules_table(results: Results) -> str:
    """What simpler rules would lose."""
    rows = [
        [
            each["rule"], str(each["trainings"]),
            *(_count(each[name]) for name in ("inside", "unknown", "outside")),
            results.measure.distances(each["loss"], each["loss_low"], each["loss_high"]),
            f"{each['everywhere']:.2f}",
        ]
        for each in results.rules.to_dict("records")
    ]  # fmt: skip
    headers = [
        "rule",
        "trainings",
        "cycles inside",
        "can't be told",
        "outside",
        "loses on average",
        "inside everywhere",
    ]
    return table(headers, rows)


def claims_table(results: Results) -> str:
    """How optimum and interval move from the first cycle to the last, by lines through their logarithms: one
    for each draw of what the trainings tell."""
    told = [each for each in results.beliefs if not each.silent]
    cycles = np.array([each.cycle for each in told], dtype=float)
    cycles -= cycles.mean()
    rows = []
    for name, which in (("optimum", 0), ("lower end", 1), ("upper end", 2)):
        found = np.log(np.stack([each.rates[each.ends[which]] for each in told], axis=1))
        grown = np.exp(found @ cycles / (cycles @ cycles) * (cycles[-1] - cycles[0]))
        low, high = np.quantile(grown, (0.05, 0.95))
        rows.append(
            [name, f"{np.median(grown):.2f}", f"[{low:.2f}, {high:.2f}]", f"{(grown > 1).mean():.2f}"]
        )
    return table(["", "factor", "90 % range", "chance that it rises"], rows)


def rivals_table(results: Results) -> str:
    """What curves of other shapes lose that are fitted to the same intervals."""
    rows = [
        [
            each["rival"], "yes" if each["s_shaped"] else "no", str(each["parameters"]),
            results.measure.distances(each["loss"], each["loss_low"], each["loss_high"]),
        ]
        for each in results.rivals.to_dict("records")
    ]  # fmt: skip
    return table(["curve", "an S", "numbers fitted", "loses on average"], rows)


def _count(listed: Any) -> str:
    return str(len(listed.split(";"))) if isinstance(listed, str) else "0"


def array(results: Results) -> Recorded:
    """(cycles, n, replicates) of a search of all rates."""
    cycles = [[[t.score for t in c.trials] for c in each.candidates] for each in results.decided]
    return Recorded(np.array(results.decided[0].grid), np.array(cycles))


def right(truth: Truth, found: Results, by_means: bool) -> list[Figures]:
    """Per cycle, how far a search is right. By the means, what it says of SILO's curve is that it lies in the
    interval or doesn't; by the model, that it loses more than the tolerance or doesn't."""
    rows = []
    assert found.predicted is not None
    for each, belief in zip(found.decided, found.beliefs, strict=True):
        rate = float(found.predicted.max_lr(each.cycle))
        x = np.log(truth.rates)
        lost = truth.means[each.cycle].max() - np.interp(np.log(rate), x, truth.means[each.cycle])
        within = lost <= found.measure.within
        if by_means:
            low, high = truth.rates[[truth.low[each.cycle], truth.high[each.cycle]]]
            within = low <= rate <= high
            ends = [each.interval.optimum, each.interval.low, each.interval.high]
            said = "inside" if each.interval.contains(rate) else "outside"
        else:
            first, last = belief.stated
            ends = [float(belief.rates[k]) for k in (belief.optimum(), first, last)]
            said = belief.loss(rate).verdict
        places = [int(abs(x - np.log(end)).argmin()) for end in ends]
        figures = truth.decision(each.cycle, *places)
        rows.append(
            {
                "trainings a cycle": len(each.trials), "optimum loses": figures["optimum's loss"],
                "Jaccard index": figures["Jaccard"], "both ends ±1": figures["both ±1"],
                "SILO's verdict wrong": said == ("outside" if within else "inside"),
                "can't be told": said == "unknown",
            }
        )  # fmt: skip
    return rows


def replayed(whole: Results, replicates: Sequence[int]) -> Results:
    """An adaptive search that meets some of a search's replicates."""
    known = {(trial.cycle, trial.replicate, trial.max_lr): trial.score for trial in whole.outcomes}
    changes = {"policy": ComponentSpec(name="adaptive"), "replicates": len(replicates)}
    spec = whole.search_spec.model_copy(update=changes)
    rules = Rules(
        policy=spec.policy_of_rates(), cycles=len(whole.decided), replicates=spec.replicates,
        tolerance=whole.measure.within, decide="posterior", chance=whole.chance and whole.chance.highest,
    )  # fmt: skip
    found = replay(rules, lambda cycle, replicate, rate: known[cycle, replicates[replicate], rate])
    return Results.of(spec, found, draws=0)


def right_table() -> str:
    """How far searches of the digits are right: by the means and by the model, replayed and really run."""
    whole = search("digits", "truth")
    everyone = set(range(whole.search_spec.replicates))
    found: dict[str, list[Figures]] = {}
    for count, draw in itertools.product((3, 5), range(_DRAWS)):
        some = np.random.default_rng(draw).permutation(len(everyone))[:count].tolist()
        truth = Truth(array(search("digits", "truth", tuple(sorted(everyone - {*some})))))
        part = search("digits", "truth", tuple(sorted(some)))
        for rule in ("means", "model"):
            name = f"all rates, r = {count}, by the {rule} (replayed)"
            found.setdefault(name, []).extend(right(truth, part, rule == "means"))
        if count == 3:
            found.setdefault("adaptive, r = 3 (replayed)", []).extend(
                right(truth, replayed(whole, some), False)
            )
    truth = Truth(array(whole))
    for seeds, name, rules in _RUN:
        for seed, rule in itertools.product(seeds, rules):
            count = f"{len(seeds)} other seeds" if len(seeds) > 1 else "another seed"
            title = f"{_TITLES[name]}{f', by the {rule}' if len(rules) > 1 else ''}, {count} (really run)"
            run = search("digits", f"{name}-{seed}")
            found.setdefault(title, []).extend(right(truth, run, rule == "means"))
    shown = [
        [name, *(form.format(np.mean([row[column] for row in rows])) for column, form in _RIGHT.items())]
        for name, rows in found.items()
    ]
    return table(["search", *_RIGHT], shown)


def tests_table(study: str, names: Sequence[str], beside: str) -> str:
    """What searches and policies reached on the test split, and the trainings that each took.

    The mean over the cycles stands beside how far that is below one of them's, in the same replicates.
    """

    def scores(name: str) -> Any:
        decided = search(study, name).decided
        return np.array([[trial.test_score for trial in each.selected.trials] for each in decided])

    def text(values: Any, deviation: Any) -> str:
        return search(study, beside).measure.text(float(values.mean()), float(deviation))

    other = scores(beside)
    rows = []
    for name in names:
        own = scores(name)
        shown = [text(each, each.std(ddof=1)) for each in own[::3]]
        mean, root = own.mean(axis=0), np.sqrt(own.shape[1])
        behind = "–"
        if name != beside and own.shape == other.shape:
            behind = text(other.mean(axis=0) - mean, (other - own).mean(axis=0).std(ddof=1) / root)
        trainings = str(len(search(study, name).outcomes))
        rows.append([name, trainings, *shown, text(mean, mean.std(ddof=1) / root), behind])
    cycles = [f"cycle {cycle}" for cycle in range(0, len(other), 3)]
    return table(["policy", "trainings", *cycles, "all ± s.e.", f"behind {beside} ± s.e."], rows)


def precision_table(one: Results, other: Results) -> str:
    """What the dense network reaches with each rate in two precisions, and how far the first is ahead, from
    the same initial weights with the same batches."""
    form, rows = one.measure.text, []
    for pair in zip(one.decided[0].candidates, other.decided[0].candidates, strict=True):
        scores = np.array([[trial.score for trial in each.trials] for each in pair])
        ahead = scores[0] - scores[1]
        error = ahead.std(ddof=1) / np.sqrt(ahead.size)
        texts = [form(float(each.mean()), float(each.std(ddof=1))) for each in scores]
        rows.append([f"{pair[0].max_lr:.3g}", *texts, form(float(ahead.mean()), float(error))])
    names = [each.search_spec.training.precision for each in (one, other)]
    return table(["rate", *names, f"{names[0]} ahead ± s.e."], rows)


Tables = dict[str, Callable[[], str]]


def tables(study: str) -> Tables:
    """The tables of a study's page by their marks: a few of each search, and those of the digits alone."""
    kinds = {"cycles": cycles_table, "claims": claims_table, "rules": rules_table, "rivals": rivals_table}
    found: Tables = {
        f"{kind}_{name}": lambda make=make, name=name: make(search(study, name))  # type: ignore[misc]
        for kind, make in kinds.items()
        for name in _SEARCHES[study]
    }
    followed = ["dense", "sparsest", "silo", "allr", _FOLLOWED[study]]
    found["tests"] = lambda: tests_table(study, followed, "silo")
    if study == "digits":
        found |= {"right": right_table, "gradients": lambda: gradients_table(search(study, "gradients"))}
    if study == "resnet20":
        found["precision"] = lambda: precision_table(search(study, "bf16"), search(study, "fp32"))
    return found


def page(study: str) -> str:
    """The page with its tables made anew.

    Raises:
        KeyError: It names a table that there is not.
    """
    made = tables(study)
    text = (STUDIES / study / "README.md").read_text(encoding="utf-8")
    return _MARK.sub(lambda found: f"{found[1]}\n{made[found[2]]().strip()}\n\n{found[3]}", text)


def figures(study: str) -> dict[str, Any]:
    """The figures of a study by their files' names."""
    return {f"{name}.svg": comparison_figure(search(study, name)) for name in _SEARCHES[study]}


def main() -> None:
    """Writes what has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("studies", nargs="*", default=["digits", "fc", "resnet20"])
    parser.add_argument("--figures", action="store_true")
    options = parser.parse_args()
    for study in options.studies:
        replace_file(STUDIES / study / "README.md", page(study).encode())
        if options.figures:
            for name, content in images(figures(study)).items():
                replace_file(STUDIES / study / name, content)


if __name__ == "__main__":
    main()
