"""The command that runs a search, and its progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from oracle.cli.show import PlainConsole, show_comparisons
from oracle.cli.specs import JSON, SPEC
from oracle.cycles import Candidate, Cycle
from oracle.errors import ReportFailed
from oracle.measure import MAX_LR
from oracle.observers import Observer
from oracle.service import DriverName, searching
from oracle.session import Session
from oracle.spec_file import load_variants
from silo.errors import InvalidInput
from trials.tasks import Task, TrainPack, Trial


def progress_observer(stream: TextIO | None = None, *, several: bool = False) -> Observer:
    """The observer that suits the stream: live on a terminal, else plain lines.

    Args:
        stream: Where to write; by default the standard error of this moment.
        several: Whether searches run side by side, so that each line must name its own.
    """
    stream = sys.stderr if stream is None else stream
    return _Live(stream, several) if stream.isatty() else _Plain(stream, several)


class _Counter:
    """Trials finished in this run, their rate, and the time that is left at that rate."""

    def __init__(self) -> None:
        self.count, self.begin = 0, time.monotonic()

    def rate(self) -> float:
        """Trainings per second of this run; 0 before the first."""
        return self.count / max(time.monotonic() - self.begin, 1e-9)

    def left(self, session: Session) -> str:
        """Time that the rest takes at this rate, the later cycles' grids taken as they are in the spec."""
        if not self.count:
            return "…"
        search, rules = session.search, session.search.rules
        cycle = rules.policy.expected(rules.replicates)
        # What a later cycle has already is of the replicates that were there before.
        later = sum(max(cycle - search.finished(c), 0) for c in range(search.cycle + 1, rules.cycles))
        rest = later + search.planned() - search.finished(search.cycle)
        seconds = round(rest / self.rate())
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


class _Plain(Observer):
    """One line per cycle, and one for everything that goes wrong."""

    def __init__(self, stream: TextIO, several: bool) -> None:
        self._stream, self._several = stream, several
        self._counters: dict[str, _Counter] = {}

    def started(self, session: Session) -> None:
        self._counters[session.spec.name] = _Counter()
        print(_opening(session), file=self._stream, flush=True)

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        self._counters[session.spec.name].count += len(outcomes)

    def retried(self, session: Session, task: Task, reason: str) -> None:
        self._line(session, _trouble(session, task, reason))

    def halved(self, session: Session, task: Task, together: int) -> None:
        self._line(session, _halved(session, task, together))

    def decided(self, session: Session, decision: Cycle) -> None:
        counter = self._counters[session.spec.name]
        speed = f"{counter.rate():.1f} trainings/s, {counter.left(session)} left"
        self._line(session, f"{_decision(session, decision)} | {speed}")

    def _line(self, session: Session, text: str) -> None:
        print(_of(session, self._several) + text, file=self._stream, flush=True)


class _Live(Observer):
    """A bar for each search's cycle under way, below the cycles that are decided."""

    def __init__(self, stream: TextIO, several: bool) -> None:
        self._several = several
        self._progress = Progress(
            TextColumn("[bold]{task.fields[search]}{task.fields[cycle]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} trials"),
            TextColumn("{task.fields[best]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[left]} left"),
            console=PlainConsole(file=stream),
            transient=True,
        )
        self._bars: dict[str, tuple[TaskID, _Counter]] = {}

    def started(self, session: Session) -> None:
        self._progress.console.print(_opening(session), highlight=False, markup=False)
        bar = self._progress.add_task(
            "", total=1, search=_of(session, self._several), cycle="", best="", rate="", left="…"
        )
        self._bars[session.spec.name] = (bar, _Counter())
        self._update(session)
        self._progress.start()

    def trained(self, session: Session, outcomes: Sequence[Trial]) -> None:
        self._bars[session.spec.name][1].count += len(outcomes)
        self._update(session)

    def retried(self, session: Session, task: Task, reason: str) -> None:
        self._warn(session, _trouble(session, task, reason))

    def halved(self, session: Session, task: Task, together: int) -> None:
        self._warn(session, _halved(session, task, together))

    def _warn(self, session: Session, text: str) -> None:
        line = _of(session, self._several) + text
        self._progress.console.print(line, style="yellow", highlight=False, markup=False)

    def decided(self, session: Session, decision: Cycle) -> None:
        line = _of(session, self._several) + _decision(session, decision)
        self._progress.console.print(line, highlight=False, markup=False)
        self._update(session)

    def ended(self, session: Session, state: str) -> None:
        bar, _ = self._bars.pop(session.spec.name)
        self._progress.remove_task(bar)
        if not self._bars:
            self._progress.stop()

    def _update(self, session: Session) -> None:
        search = session.search
        if session.spec.name not in self._bars or search.done:
            return
        bar, counter = self._bars[session.spec.name]
        self._progress.update(
            bar,
            completed=search.finished(search.cycle),
            total=search.planned(),
            cycle=_cycle(session, search.cycle),
            best=_best(session),
            rate=f"{counter.rate():.1f} trainings/s",
            left=counter.left(session),
        )


def _of(session: Session, several: bool) -> str:
    return f"{session.spec.name}: " if several else ""


def _best(session: Session) -> str:
    trials = session.search.outcomes_of(session.search.cycle)
    if not trials:
        return ""
    measure = session.search.rules.measure
    best = max(trials, key=lambda trial: measure.comparable(trial.score))
    return f"best {measure.in_line(best.score)} at {best.max_lr:g}"


def _opening(session: Session) -> str:
    rules = session.search.rules
    size = " × ".join(
        [
            _counted(rules.cycles, "cycle"),
            _counted(rules.policy.candidates, "rate"),
            _counted(rules.replicates, "replicate"),
        ]
    )
    before = ""
    if session.resumed:
        are = "is" if session.resumed == 1 else "are"
        before = f"; {_counted(session.resumed, 'trial')} {are} in the ledger already"
    budget = ""
    if rules.policy.selective:
        budget = f", of which policy {session.spec.policy.name} trains about "
        budget += f"{rules.policy.expected(rules.replicates):.3g} a cycle"
    return f"search {session.spec.name}: {size}{budget}, {_way(session)}{before}"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" + "s" * (count != 1)


def _cycle(session: Session, cycle: int) -> str:
    """``cycle 3 of 0–13``: the cycle as tables count them, by how often the network has been pruned."""
    last = session.search.rules.cycles - 1
    return f"cycle {cycle} of 0–{last}" if last else f"cycle {cycle}"


def _way(session: Session) -> str:
    """How the trainings are computed, and what kept them from another way; the rest is the plan's to say."""
    notes = session.record.execution_reason.partition("; ")[2]
    return f"{session.record.execution} ({notes})" if notes else str(session.record.execution)


def _decision(session: Session, decision: Cycle) -> str:
    best, pruned = decision.selected, session.search.prunings(decision.cycle)
    density = sum(p.alive / p.prunable for p in pruned) / len(pruned) if pruned else 1.0
    return (
        f"{_cycle(session, decision.cycle)}: {density:6.1%} of weights left, {_rates(session, decision)}, "
        f"{_reached(session, best)}"
    )


def _reached(session: Session, best: Candidate) -> str:
    """The validation score; that it is an accuracy needs no word."""
    measure = session.search.rules.measure
    what = "validation" if measure.percent else measure.label("validation")
    return f"{what} {measure.in_line(best.score, best.score_std)}"


def _rates(session: Session, decision: Cycle) -> str:
    """Optimum and interval, or the one rate of a policy that doesn't search."""
    interval = decision.interval
    if not session.search.rules.policy.searches:
        return f"{MAX_LR} {interval.optimum:g}"
    low, high = "≤" * interval.low_cut, "≥" * interval.high_cut
    found = f"optimum {interval.optimum:g}, interval [{low}{interval.low:g}, {high}{interval.high:g}]"
    found += "" if decision.chosen == interval.optimum else f", goes on with {decision.chosen:g}"
    if not session.search.rules.policy.selective:
        return found
    earlier = session.search.decisions[: decision.cycle]
    return found + told(decision, earlier[-1].chosen if earlier else None)


def told(decision: Cycle, before: float | None) -> str:
    """What is known of the rates where trainings were left out, and what to doubt.

    Args:
        decision: The cycle.
        before: The rate that the cycle before went on with; None at the first.
    """
    belief = decision.belief
    if belief is None:
        return " (the trainings tell nothing of the rates)"
    doubts = ", two ranges of rates are good" * belief.two_humps
    outside = before is not None and belief.loss(before).verdict == "outside"
    doubts += ", other rates are good than in the cycle before" * outside
    return f" (both ends within a step: {belief.sure:.0%}{doubts})"


def _trouble(session: Session, task: Task, reason: str) -> str:
    what = "training" if isinstance(task, TrainPack) else "pruning"
    fate = "is tried again"
    if task in session.search.failed:
        fate = "has failed" if task in session.search.hopeless else "has failed too often"
    last = reason.strip().splitlines()[-1]
    return f"{_cycle(session, task.cycle)}, replicate {task.replicate}: {what} {fate}: {last}"


def _halved(session: Session, task: Task, together: int) -> str:
    now = f"at most {_counted(together, 'candidate')} are trained together from now on"
    if together == 1:
        now = "each candidate is trained alone from now on"
    return f"{_cycle(session, task.cycle)}, replicate {task.replicate}: a pack ran out of memory: {now}"


@click.command()
@SPEC
@click.option(
    "--driver",
    type=click.Choice(["ray", "in-process"]),
    default="ray",
    show_default=True,
    help="Ray Tune's workers, or this process alone.",
)
@click.option("--address", help="Address of a running Ray cluster; by default one is started here.")
@JSON
@click.pass_context
def run(
    context: click.Context, spec_file: Path, driver: DriverName, address: str | None, as_json: bool
) -> None:
    """Run a search from this terminal, to its end.

    Or go on with it: what the ledger holds is never trained again. It starts Ray here, or takes the workers
    of a running cluster by --address; the search lasts as long as this command. To leave one to a cluster:
    'oracle submit'. A spec with variants is one search for each; on Ray they run side by side and share the
    workers.

    \b
    Example:
      oracle run mine.yaml
    """
    if address and driver != "ray":
        raise click.UsageError("--address goes with --driver ray")
    specs = load_variants(spec_file)
    progress = progress_observer(several=len(specs) > 1)
    unwritten = None
    with searching(
        specs, driver=driver, address=address, observers=[progress], path=spec_file, interrupt=interrupt
    ) as found:
        try:
            show_comparisons([(search.ledger, search.record) for search in found], as_json=as_json)
        except InvalidInput as failure:
            unwritten = failure
    failed = [search for search in found if search.stuck]
    for search in failed:
        click.echo(
            f"oracle: some trials failed, search {search.record.name} stops at their cycle. First error:\n"
            f"{search.error}\noracle: run the same command again to retry them",
            err=True,
        )
    if unwritten:
        raise ReportFailed(
            f"every finished trial is in the ledger, but {unwritten}: run the same command again once that "
            f"is mended, or oracle report {spec_file} --out FOLDER"
        )
    if failed:
        context.exit(1)


def interrupt() -> None:
    """Ends this process's search as Ctrl-C does, from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)
