"""What torch compiles in this process, as it does on CUDA: before the first step, or not at all."""

import pytest
import torch

from tests.trials.toys import toy_data, toy_network, toy_recipe
from trials.datasets import Dataset
from trials.engine import Engine, compile_if_possible, graphs
from trials.engine.compile_cache import CompilerFailed
from trials.engine.graphs import as_traced, compile_all, trace
from trials.tasks import Execution


def counted(values, numbers):
    return (values.add_(numbers),)


def a_graph():
    return trace(counted, [torch.zeros(3), torch.ones(3)])


@pytest.fixture
def compiler(monkeypatch):
    """Nothing is compiled ahead of time; a function to put what stands for a graph's calls into."""
    monkeypatch.setattr(graphs, "_on_cpu", lambda traced: False)
    return lambda call: monkeypatch.setattr(torch, "compile", lambda graph, **options: call)


def fails(*tensors):
    raise RuntimeError("backend='inductor' raised:\n\nOutOfResources: shared memory\nSet VERBOSE=1 for more")


def test_what_fails_at_its_first_call_is_used_uncompiled(compiler, caplog):
    compiler(fails)
    traced = a_graph()
    assert compile_if_possible([traced]) == as_traced([traced])
    why = "RuntimeError: backend='inductor' raised: OutOfResources: shared memory"
    assert caplog.messages == [f"graphs are used uncompiled: {why}"]
    with pytest.raises(CompilerFailed, match="OutOfResources: shared memory"):
        compile_all([traced])


def test_too_little_memory_is_no_failure_of_the_compiler(compiler):
    def has_none(*tensors):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    compiler(has_none)
    with pytest.raises(torch.OutOfMemoryError):
        compile_if_possible([a_graph()])


def test_the_first_call_is_one_of_a_step_and_changes_nothing(compiler):
    traced, seen = a_graph(), []

    def call(*tensors):
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return counted(*tensors)

    compiler(call)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (program,) = compile_all([traced])
    assert seen == [(False, False)] and not traced.arguments[0].any()
    program(*traced.arguments)
    assert traced.arguments[0].tolist() == [1.0, 1.0, 1.0]


def test_a_training_goes_on_where_its_step_can_not_be_compiled(compiler):
    compiler(fails)
    recipe = toy_recipe(execution=Execution(compiled=True))
    engine = Engine(toy_network(), recipe, compiler=compile_if_possible)
    assert engine.why_not(toy_data(kind=Dataset)) is None
    strict = Engine(toy_network(), recipe)
    assert "OutOfResources" in strict.why_not(toy_data(kind=Dataset))
