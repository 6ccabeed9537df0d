"""The choice of a way to train: by measuring where that pays, and the same one for ever after."""

import dataclasses
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from oracle import execution as executions
from oracle import plan
from oracle.ledger import Ledger
from oracle.preflight import examine, open_runner, prepare
from silo.errors import InvalidInput
from tests.support import needs_compiler, open_session, results, run_in_process, small_spec
from trials.engine import choose
from trials.engine import engine as engines
from trials.engine.choose import Speed
from trials.engine.engine import Engine
from trials.process import DeviceLost
from trials.tasks import Execution


def chosen(spec, workers=1):
    return executions.choose_execution(spec, open_runner(spec), workers)[:2]


@pytest.fixture
def long(monkeypatch):
    """Every search is worth measuring, and compiling."""
    monkeypatch.setattr(choose, "_WORTH_MEASURING", 0.0)


def speeds(monkeypatch, seconds):
    """Measurements that give the seconds of a step by way."""
    asked = []

    def measure(recipe, runner, *, count, graphs=(), engine=None):
        execution = recipe.execution
        assert count <= execution.pack_size
        asked.append(execution)
        return Speed(
            step=seconds(execution), validation=0.0, first=seconds(execution) + 10.0 * execution.compiled
        )

    monkeypatch.setattr(choose, "measure_speed", measure)
    return asked


def test_a_small_search_follows_a_rule_of_thumb(tmp_path):
    execution, reason = chosen(small_spec(tmp_path))
    assert execution == Execution(pack_size=16) and "rule of thumb" in reason
    for network, arguments in (("resnet20", {}), ("fc", {"hidden": [300, 300]})):
        spec = small_spec(
            tmp_path,
            network={"name": network, "arguments": arguments},
            cycles=1,
            replicates=1,
            training={"iterations": 1, "batch_size": 4},
            grid={"values": [0.1, 0.2]},
        )
        assert chosen(spec)[0] == Execution()


def test_what_is_fastest_for_the_whole_search_is_taken(tmp_path, monkeypatch, long):
    asked = speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size**0.5)
    spec = small_spec(tmp_path)
    execution, reason = chosen(spec)
    assert execution == Execution(pack_size=5)  # all five candidates
    assert asked[0] == Execution() and Execution(pack_size=3) in asked
    assert reason.startswith("measured for this search: up to 5 candidates together ")
    # Two replicates of five candidates are two packs: with four workers two would idle.
    assert chosen(spec, workers=4)[0] == Execution(pack_size=3)
    assert chosen(spec, workers=10)[0] == Execution()


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    """A machine with nothing else to do, and a user who has measured nothing yet."""
    monkeypatch.delenv("ORACLE_REMEASURE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 2.0, 3.0))
    monkeypatch.setattr(executions, "cores", lambda: 2)
    return tmp_path / "cache" / "silo-oracle" / "executions"


def test_what_was_measured_on_a_quiet_machine_is_kept(tmp_path, monkeypatch, long, quiet):
    def asked(spec, workers=1):
        found = speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size**0.5)
        assert chosen(spec, workers)[0].pack_size > 1
        return bool(found)

    spec = small_spec(tmp_path)
    assert asked(spec) and not asked(spec)
    renamed = small_spec(tmp_path, name="other", storage=str(tmp_path / "elsewhere"))
    assert not asked(renamed)
    for change in ({"network": {"name": "fc", "arguments": {"hidden": [9]}}}, {"replicates": 3}, {"seed": 1}):
        assert asked(small_spec(tmp_path, **change)), change
    assert asked(spec, workers=4)
    monkeypatch.setattr("trials.engine.compile_cache.processor", lambda: "another")
    assert asked(spec) and not asked(spec)
    monkeypatch.setenv("ORACLE_REMEASURE", "1")
    assert asked(spec)


def test_a_choice_is_measured_again_where_it_is_damaged_or_what_it_needs_is_gone(
    tmp_path, monkeypatch, long, quiet
):
    found = speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size**0.5)
    first = chosen(small_spec(tmp_path))
    (kept,) = quiet.iterdir()
    whole = json.loads(kept.read_text())
    assert Execution(**whole["execution"]) == first[0] and whole["reason"] == first[1]
    for content in ("", "{}", "[]", '{"execution": {"pack": 3}, "reason": "", "graphs": []}'):
        kept.write_text(content)
        found.clear()
        assert chosen(small_spec(tmp_path)) == first and found
    kept.write_text(json.dumps(whole | {"graphs": ["not-there"]}))
    found.clear()
    assert chosen(small_spec(tmp_path)) == first and found


def test_what_was_measured_on_a_busy_machine_is_not_kept(tmp_path, monkeypatch, long, quiet):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size)
    chosen(small_spec(tmp_path))
    assert not list(quiet.iterdir())


def test_packs_that_do_not_pay_are_not_taken(tmp_path, monkeypatch, long):
    speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size)
    assert chosen(small_spec(tmp_path))[0] == Execution()


def test_compiling_must_repay_itself(tmp_path, monkeypatch, long):
    tried = []
    monkeypatch.setattr(
        choose._Chooser, "_why_not_traced", lambda self, engine: tried.append(engine.recipe.execution)
    )
    speeds(monkeypatch, lambda execution: 0.02 / (1 + 9 * execution.compiled))
    short = small_spec(tmp_path, cycles=1, training={"iterations": 10, "batch_size": 64})
    assert not chosen(short)[0].compiled and not tried
    execution, reason = chosen(
        small_spec(tmp_path, cycles=16, training={"iterations": 1000, "batch_size": 64})
    )
    assert execution.compiled and tried == [execution] and "compiled" in reason
    never = small_spec(tmp_path, cycles=16, training={"iterations": 1000, "batch_size": 64, "compile": False})
    assert not chosen(never)[0].compiled
    # Arithmetic that takes its time gains nothing, but in bfloat16.
    speeds(monkeypatch, lambda execution: 0.2 / (1 + 9 * execution.compiled))
    busy = {"iterations": 1000, "batch_size": 64}
    assert not chosen(small_spec(tmp_path, training=busy))[0].compiled
    assert chosen(small_spec(tmp_path, training=busy | {"precision": "bf16"}))[0].compiled


def test_what_can_not_be_compiled_is_said(tmp_path, monkeypatch, long):
    monkeypatch.setattr(choose._Chooser, "_why_not_traced", lambda self, engine: "no compiler")
    speeds(monkeypatch, lambda execution: 0.02)
    spec = small_spec(tmp_path, cycles=16, training={"iterations": 1000, "batch_size": 64})
    execution, reason = chosen(spec)
    assert not execution.compiled and "its step can't be compiled: no compiler" in reason
    spec = small_spec(tmp_path, training={"epochs": 1, "compile": True})
    with pytest.raises(InvalidInput, match=r"training.compile: the step can't be compiled \(no compiler\)"):
        chosen(spec)


def test_a_way_that_fails_is_left_out_and_named(tmp_path, monkeypatch, long):
    def seconds(execution):
        if execution.pack_size == 5:
            raise MemoryError("no room for 5")
        return 0.001 * execution.pack_size**0.5

    speeds(monkeypatch, seconds)
    execution, reason = chosen(small_spec(tmp_path))
    assert execution == Execution(pack_size=3)
    assert "up to 5 candidates together failed (MemoryError: no room for 5)" in reason

    def fails(execution):
        raise RuntimeError("exploded")

    speeds(monkeypatch, fails)
    execution, reason = chosen(small_spec(tmp_path))
    assert execution == Execution(pack_size=16) and "RuntimeError: exploded" in reason
    with pytest.raises(InvalidInput, match="can't be trained here: RuntimeError: exploded"):
        plan.make_plan(small_spec(tmp_path))


def test_the_spec_has_the_last_word(tmp_path, monkeypatch, long):
    speeds(monkeypatch, lambda execution: 0.001 * execution.pack_size**0.5)
    training = {"epochs": 2, "batch_size": 64}
    assert chosen(small_spec(tmp_path, training=training | {"pack": 1}))[0] == Execution()
    assert chosen(small_spec(tmp_path, training=training | {"pack": 3}))[0].pack_size == 3
    speeds(monkeypatch, lambda execution: 1.0 * execution.pack_size**2)
    assert chosen(small_spec(tmp_path, training=training | {"pack": 3}))[0].pack_size == 3


def test_layouts_are_measured_for_convolutions_alone(tmp_path, monkeypatch, long):
    asked = speeds(monkeypatch, lambda execution: 0.1 - 0.05 * execution.channels_last)
    fields = {"cycles": 1, "replicates": 1, "grid": {"values": [0.1, 0.2]}}
    training = {"iterations": 1, "batch_size": 4}
    spec = small_spec(tmp_path, network="resnet20", training=training, **fields)
    assert chosen(spec)[0] == Execution(channels_last=True) and asked == [
        Execution(),
        Execution(channels_last=True),
    ]
    asked.clear()
    spec = small_spec(tmp_path, network="resnet20", training=training | {"channels_last": False}, **fields)
    assert chosen(spec)[0] == Execution() and asked == [Execution()]
    asked.clear()
    chosen(small_spec(tmp_path))
    assert not any(execution.channels_last for execution in asked)


def on_gpu(tmp_path, **training):
    """A spec for GPU workers, and a runner that says it has one: nothing is computed on it."""
    fields = {"iterations": 1000, "batch_size": 64, **training}
    grid = {"low": 0.01, "high": 0.4, "points": 20}
    spec = small_spec(tmp_path, resources={"gpus": 1}, cycles=16, training=fields, grid=grid)
    runner = open_runner(spec)
    assert runner.data
    runner.device = torch.device("cuda")
    return spec, runner


def test_on_a_gpu_recorded_steps_are_measured_too(tmp_path, monkeypatch, long):
    tried = []
    monkeypatch.setattr("trials.process.name_of", lambda device: "a card")
    monkeypatch.setattr(
        choose._Chooser, "_why_not_traced", lambda self, engine: tried.append(engine.recipe.execution)
    )
    monkeypatch.setattr(
        choose._Chooser, "_engine", lambda self, each: SimpleNamespace(recipe=SimpleNamespace(execution=each))
    )
    streams = Execution(pack_size=10, captured=True, streams=True)
    speeds(
        monkeypatch,
        lambda execution: (
            0.002 * execution.pack_size / (8.0 if execution.streams else 1 + execution.captured)
        ),
    )
    execution, reason, _ = executions.choose_execution(*on_gpu(tmp_path), 1)
    assert execution == streams and "up to 10 candidates together, a CUDA graph each, on streams" in reason
    packed = replace(tried[1], pack_size=tried[1].pack_size)
    assert tried[:2] == [Execution(captured=True), packed] and packed.pack_size > 1 and not packed.streams
    assert tried[2:4] == [replace(streams, pack_size=7), streams]
    # Each kind is compiled, too, whichever was the fastest before.
    assert set(tried[4:]) == {replace(each, compiled=True) for each in (*tried[:2], streams)}
    for fixed, expected in (("off", Execution()), ("streams", replace(streams, pack_size=8))):
        assert (
            executions.choose_execution(*on_gpu(tmp_path, cuda_graph=fixed, compile=False), 1)[0] == expected
        )
    monkeypatch.setattr(choose._Chooser, "_why_not_traced", lambda self, engine: "it branches")
    execution, reason, _ = executions.choose_execution(*on_gpu(tmp_path), 1)
    assert execution == Execution() and "its step can't be a CUDA graph: it branches" in reason
    assert "its step can't be CUDA graphs on streams: it branches" in reason
    with pytest.raises(InvalidInput, match=r"cuda_graph: the step can't be recorded \(it branches\)"):
        executions.choose_execution(*on_gpu(tmp_path, cuda_graph="pack"), 1)


def test_each_way_of_a_gpu_is_recorded_once(tmp_path, monkeypatch, long):
    made, asked = [], []
    make, speed = Engine._make, choose.measure_speed

    def count(self, *arguments):
        made.append(self.recipe.execution)
        make(self, *arguments)

    def measure(recipe, runner, **options):
        asked.append(recipe.execution)
        return speed(recipe, runner, **options)

    monkeypatch.setattr(Engine, "_make", count)
    monkeypatch.setattr(choose, "measure_speed", measure)
    monkeypatch.setattr(choose._Chooser, "_cuda", True)  # where there is none, what is recorded is called
    training = {"iterations": 1000, "batch_size": 64, "compile": False}
    spec = small_spec(tmp_path, training=training, grid={"low": 0.01, "high": 0.4, "points": 3})
    chosen(spec)
    recorded = [execution for execution in asked if execution.captured]
    assert made == recorded and len(set(made)) == len(made) == 3
    assert {(each.pack_size > 1, each.streams) for each in made} == {
        (False, False),
        (True, False),
        (True, True),
    }


def test_a_gpu_takes_packs_of_all_candidates(tmp_path, monkeypatch, long):
    asked = speeds(monkeypatch, lambda execution: 0.001)
    grid = {"low": 0.01, "high": 0.4, "points": 40, "extend": False}
    spec = small_spec(tmp_path, grid=grid, training={"iterations": 1000, "batch_size": 64, "compile": False})
    chosen(spec)
    assert max(execution.pack_size for execution in asked) <= choose.MOST_COPIES
    monkeypatch.setattr(choose._Chooser, "_why_not_traced", lambda self, engine: "it is pretended")
    monkeypatch.setattr(choose._Chooser, "_cuda", True)
    asked.clear()
    chosen(spec)
    assert max(execution.pack_size for execution in asked) == 40


def test_a_plan_says_what_other_precisions_bring_on_a_gpu(tmp_path, monkeypatch):
    def measure(spec, runner, execution, *, count, graphs=()):
        if spec.training.precision == "bf16":
            raise RuntimeError("no such kernel")
        return Speed(step={"fp32": 1.0, "tf32": 0.75}[spec.training.precision], validation=0.0, first=1.0)

    spec = small_spec(tmp_path)
    on_cpu = plan.make_plan(spec)
    assert on_cpu.precisions == {} and "precision" not in dict(on_cpu.lines())
    monkeypatch.setattr(plan, "measure_speed", measure)
    runner, exact = open_runner(spec), Speed(step=1.0, validation=0.0, first=1.0)
    found = plan._precisions(spec, runner, on_cpu.facts, 1, exact)
    assert found == {"tf32": 0.75}
    line = dict(dataclasses.replace(on_cpu, precisions=found).lines())["precision"]
    assert line == (
        "training.precision: tf32 75 % of that time on this GPU, measured; each rounds in its own way"
    )


def test_what_was_compiled_before_is_tried_in_a_short_search_too(tmp_path, monkeypatch, long):
    speeds(monkeypatch, lambda execution: 0.02 / (1 + 9 * execution.compiled))
    monkeypatch.setattr(choose._Chooser, "_why_not_traced", lambda self, engine: None)
    short = small_spec(tmp_path, cycles=1, training={"iterations": 300, "batch_size": 64})
    for before in (False, True):
        monkeypatch.setattr(choose._Chooser, "_were_compiled", lambda self, before=before: before)
        assert chosen(short)[0].compiled is before


def test_what_this_process_can_not_measure_follows_the_rule_of_thumb(tmp_path, monkeypatch, long):
    asked = speeds(monkeypatch, lambda execution: 1.0)
    execution, reason = chosen(small_spec(tmp_path, resources={"gpus": 1}))
    assert execution == Execution(pack_size=16) and not asked
    assert "has not the workers' device" in reason


def test_only_the_beginning_of_a_split_is_validated(tmp_path, monkeypatch):
    seen = []
    count = Engine.scores

    def counted(self, copies, data, split):
        seen.append(len(split))
        return count(self, copies, data, split)

    monkeypatch.setattr(engines, "EVALUATION_BATCH", 16)
    monkeypatch.setattr(Engine, "scores", counted)
    spec = small_spec(tmp_path)
    assert executions.measure_speed(spec, open_runner(spec), Execution(), count=1).validation > 0
    assert seen and max(seen) <= 16


def test_measurements_are_real(tmp_path):
    spec = small_spec(tmp_path)
    runner = open_runner(spec)
    before = torch.get_rng_state()
    alone, packed = (
        executions.measure_speed(spec, runner, Execution(pack_size=size), count=size) for size in (1, 5)
    )
    assert 0 < alone.step < 1 and 0 < packed.step < 1 and packed.validation > 0 and packed.first > 0
    assert packed.training(10, 2) == pytest.approx(10 * packed.step + 2 * packed.validation)
    assert torch.equal(before, torch.get_rng_state())


def test_a_search_keeps_the_way_that_it_began_with(tmp_path):
    spec = small_spec(tmp_path, cycles=1)
    first = run_in_process(spec)
    facts = dataclasses.replace(
        examine(spec, open_runner(spec)), execution=Execution(pack_size=2), execution_reason="another"
    )
    ledger = Ledger(spec.ledger)
    again = prepare(spec, facts, ledger)
    assert again.execution == first.record.execution == Execution(pack_size=16)
    assert again.execution_reason == first.record.execution_reason
    ledger.close()


@needs_compiler
def test_a_compiled_search_finds_the_eager_ones_accuracies(tmp_path):
    training = {"epochs": 2, "batch_size": 64, "pack": 5}
    eager = run_in_process(small_spec(tmp_path / "a", training=training, cycles=2))
    spec = small_spec(tmp_path / "b", training=training | {"compile": True}, cycles=2)
    with open_session(spec) as session:
        assert session.record.execution == Execution(pack_size=5, compiled=True)
    compiled = run_in_process(spec)
    ours, theirs = results(compiled), results(eager)
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 20
    assert all(abs(ours[key][0] - theirs[key][0]) < 0.02 for key in shared)
    assert any(ours[key][3] != theirs[key][3] for key in shared)  # other roundings: it was another way


def test_a_way_that_breaks_the_gpu_is_named_and_no_other_measured(tmp_path, monkeypatch, long):
    def breaks(recipe, runner, *, count, graphs=(), engine=None):
        asked.append(recipe.execution)
        if count > 1:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return Speed(step=1.0, validation=0.0, first=1.0)

    def fails():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    asked = []
    monkeypatch.setattr(choose, "measure_speed", breaks)
    monkeypatch.setattr(choose, "_BUSY_STEP", 10.0)
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    with pytest.raises(
        DeviceLost, match=r"^up to \d+ candidates together, as it was measured: the GPU .* pack$"
    ):
        chosen(small_spec(tmp_path))
    assert [execution.pack_size > 1 for execution in asked] == [False, True]
