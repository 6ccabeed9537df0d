"""Networks of the user's own: what plain PyTorch trains, trains here; what can't be the same is refused."""

import re

import pytest

from silo.errors import InvalidInput
from tests.laws.plain_loop import assert_trained_as_plainly
from tests.trials.toys import toy_data, toy_recipe
from trials.datasets import Dataset
from trials.networks import build_network
from trials.self_comparison import compare_with_itself

DATA = toy_data(shape=(64,), train=40, kind=Dataset)


def build(name):
    return lambda replicate: build_network(
        f"tests.trials.selves:{name}", {}, input_shape=(64,), num_classes=4, seed=replicate
    )


def compare(name):
    return compare_with_itself(build(name), toy_recipe(), DATA)


TRAINED = [
    "Plain",
    "Stale",
    "Parts",
    "Closure",
    "Clipped",
    "Clamped",
    "Recurrent",
    "Scripted",
    "Normed",
    "Parallel",
    "Wide",
    "Narrow",
    "Doubled",
    "Complex",
    "ComplexLayer",
    "Defaults",
    "Frozen",
    "Drawn",
    "Gauss",
    "NumpyDropout",
    "Buffered",
]


@pytest.mark.parametrize("name", TRAINED)
def test_what_plain_pytorch_trains_is_trained_alike_without_a_word(name):
    assert compare(name) == ()
    assert_trained_as_plainly(lambda: build(name)(0), DATA)


REFUSED = {
    "Fading": r"same step comes out otherwise after others.*parameter nor buffer \(count\).*register_buffer",
    "OwnDropout": r"same step comes out otherwise after others.*\(draws\)",
    "UnseededDropout": r"another one each time that it is built.*global generators",
    "Global": r"another one each time that it is built, or keeps something outside of itself",
    "InPlace": r"changes its inputs in place.*x = x / 2",
    "InPlaceInEvaluation": r"changes its inputs in place",
    "Cached": r"its first call computes of the weights.*register_buffer",
    "RunningMean": r"same evaluation comes out otherwise after steps.*\(mean\).*register_buffer",
    "Two": r"in training mode it gives a tuple for 4 inputs: it must be one tensor of shape \(4, 4\)",
    "Auxiliary": r"in training mode it gives a dict for 4 inputs.*aux_logits=False",
    "Spread": r"in training mode it gives outputs of shape \(4, 4, 1\)",
    "Fails": r"it fails in training mode on inputs of shape \(4, 64\): ZeroDivisionError: not here",
    "Growing": r"makes or drops parameters or buffers .*\(more.bias, more.weight\).*in the constructor",
    "Listed": r"its constructor draws.*nn.ModuleList",
    "Projected": r"its constructor draws.*neither parameter nor buffer.*register_buffer",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_depend_on_its_neighbours_is_refused_in_a_line(name):
    with pytest.raises(InvalidInput, match=REFUSED[name]) as refused:
        compare(name)
    assert "\n" not in str(refused.value)


WARNED = {
    "Late": r"it changes count in training.*register_buffer",
    "AlwaysDropping": r"draws random numbers in evaluation mode.*training=self.training",
    "Unused": r"loss .* doesn't depend on spare.bias, spare.weight: .*requires_grad_\(False\)",
    "NormedByBatch": r"an example's outputs depend on the others of its batch",
}


@pytest.mark.parametrize("name", WARNED)
def test_what_may_be_meant_so_is_warned_of_in_a_line(name):
    (line,) = compare(name)
    assert re.search(WARNED[name], line) and "\n" not in line
