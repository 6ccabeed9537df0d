"""fp32 by default, bf16 on request, and nothing of it left behind."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.trials.toys import toy_data, toy_network, toy_recipe
from trials.datasets import Dataset
from trials.engine import Engine, StackedNetwork, named_tensors
from trials.engine import engine as engines
from trials.engine.engine import computing
from trials.engine.graphs import as_traced
from trials.process import read_or
from trials.tasks import Execution
from trials.training import train_pack

CPU = torch.device("cpu")


def products():
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(64, 64, generator=draw), torch.randn(64, 64, generator=draw)
    return left @ right, left.double() @ right.double()


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("tf32", 1e-4), ("bf16", 0.2)])
def test_products_are_as_exact_as_asked_for(precision, error):
    with computing(precision, CPU):
        got, exact = products()
    assert (got.dtype == torch.bfloat16) == (precision == "bf16")
    worst = float((got.double() - exact).abs().max())
    assert worst < error and (worst > 1e-3) == (precision == "bf16")
    assert products()[0].dtype == torch.float32


def settings():
    """What torch says of the precision of float32, by its newer words and by its older ones."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = [kind.fp32_precision for kind in (cuda, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul)]
    older = [lambda: cuda.allow_tf32, lambda: cudnn.allow_tf32, torch.get_float32_matmul_precision]
    return newer, [read_or(get, "neither") for get in older]


@pytest.fixture
def settings_kept():
    with engines._cuda_kernels(tf32=False):
        yield


def of_matmul():
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def of_all():
    torch.backends.fp32_precision = "tf32"


def of_convolutions():
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"


def by_older_words():
    torch.set_float32_matmul_precision("medium")


@pytest.mark.parametrize("module_sets", [lambda: None, of_matmul, of_all, of_convolutions, by_older_words])
def test_cuda_computes_as_asked_for_whatever_words_a_module_has_used(module_sets, settings_kept):
    everywhere = torch.backends.fp32_precision
    try:
        module_sets()
        before = settings()[0]
        for tf32, newer, older in ((False, "ieee", "highest"), (True, "tf32", "high")):
            with engines._cuda_kernels(tf32=tf32):
                found = settings()
                assert found[0][:3] == [newer] * 3 and found[1] == [tf32, tf32, older]
            assert settings()[0] == before
    finally:
        torch.backends.fp32_precision = everywhere


@pytest.mark.parametrize("pack_size", [1, 8])
def test_a_training_in_bf16_keeps_its_weights_in_float32_and_ends_near(pack_size):
    data, module = toy_data(kind=Dataset), toy_network()
    found = {}
    for precision in ("fp32", "bf16"):
        recipe = toy_recipe(length=1, pack_size=pack_size, precision=precision)
        (found[precision], _) = train_pack(
            module=module,
            start=module.state_dict(),
            masks={},
            data=data,
            recipe=recipe,
            cycle=0,
            replicate=0,
            max_lrs=[0.05, 0.1],
        )
    exact, rough = found["fp32"].state, found["bf16"].state
    assert all(tensor.dtype == torch.float32 for tensor in rough.values())
    distance = max(float((exact[name] - rough[name]).abs().max()) for name in exact)
    assert 1e-5 < distance < 0.01


class Normalised(nn.Sequential):
    """Normalises batches, by running statistics in evaluation."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.parametrize("captured", [False, True])
def test_copies_that_normalise_batches_train_together_in_bf16(captured):
    data, module, found = toy_data(kind=Dataset), Normalised(), []
    for precision, execution in (
        ("bf16", Execution()),
        ("bf16", Execution(pack_size=2, captured=captured)),
        ("fp32", Execution()),
    ):
        recipe = toy_recipe(length=1, execution=execution, precision=precision)
        arguments = {"start": named_tensors(module), "masks": {}, "data": data, "recipe": recipe}
        (trained, _) = train_pack(module=module, **arguments, cycle=0, replicate=0, max_lrs=[0.05, 0.1])
        found.append(trained.state)
    *rough, exact = found
    for each in rough:
        assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in each.values())
        assert 1e-5 < max(float((each[name] - exact[name]).abs().max()) for name in exact) < 0.02


class Casting(nn.Module):
    """A module with an autocast of its own, which ends inside of the training's."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, inputs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.linear(inputs).float()


EXECUTIONS = {
    "alone": Execution(),
    "packed": Execution(pack_size=3),
    "captured": Execution(pack_size=3, captured=True),
    "streams": Execution(pack_size=3, captured=True, streams=True),
}


class Made(TorchDispatchMode):
    """Notes the tensors that operations make, below autocast; what C++ alone keeps of them lives, too."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **keywords or {})
        self.seen += [weakref.ref(each) for each in tree_leaves(found) if isinstance(each, Tensor)]
        return found


def kept(work):
    """Tensors that some work made, or wrote into, and that live after it."""
    with Made() as made:
        work()
    gc.collect()
    return len({id(found) for each in made.seen if (found := each()) is not None})


def test_what_is_kept_is_seen_even_in_autocasts_own_cache():
    layer, inputs = nn.Linear(6, 4), torch.zeros(2, 6)
    with computing("bf16", CPU):
        assert kept(lambda: layer(inputs)) == 2  # weight and bias, cast


@pytest.mark.parametrize(
    ("name", "make", "precision"),
    [
        *((name, toy_network, "bf16") for name in EXECUTIONS),
        ("alone", Casting, "fp32"),
        ("packed", Casting, "fp32"),
    ],
)
def test_steps_and_validations_keep_no_memory(name, make, precision):
    execution, module, data = EXECUTIONS[name], make(), toy_data(kind=Dataset)
    recipe = toy_recipe(execution=execution, precision=precision)
    engine = Engine(module, recipe, compiler=as_traced)
    copies = StackedNetwork.of(module, named_tensors(module), execution.pack_size, CPU)
    inputs, labels = data.train.first(recipe.batch_size)
    rates = torch.full((execution.pack_size,), 1e-4)

    def train(steps):
        module.train()
        for _ in range(steps):
            step(data.normalise(inputs), labels, rates)
        step.settle()
        engine.scores(copies, data, data.validation)

    with engine.computing(CPU):  # one for all steps, as in a training
        step = engine.begin(copies, torch.ones_like(copies.flat[0]), data)
        train(1)  # what is made once
        assert kept(lambda: train(50)) == kept(lambda: train(10))


@pytest.mark.parametrize("pack_size", [1, 3])
def test_a_training_keeps_no_more_the_longer_it_is(pack_size):
    module, data = toy_network(), toy_data(kind=Dataset)
    changes = {"unit": "iterations", "evaluate_every": 50, "pack_size": pack_size}

    def trained(length):
        recipe = toy_recipe(length=length, precision="bf16", **changes)
        start, rates = module.state_dict(), [0.05, 0.1, 0.2]
        arguments = {"module": module, "start": start, "masks": {}, "data": data, "recipe": recipe}
        train_pack(**arguments, cycle=0, replicate=0, max_lrs=rates)

    with computing("bf16", CPU):  # around it, so that what autocast keeps is not let go at its end
        trained(2)
        short, long = (kept(lambda length=length: trained(length)) for length in (10, 50))
    assert long == short
