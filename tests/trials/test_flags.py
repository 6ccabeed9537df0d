"""Text is true to Python, whatever it says: where a bool belongs, only a bool is taken."""

from __future__ import annotations

from typing import Any, Literal, Optional

import numpy as np
import pytest
import torch

from silo.errors import InvalidInput
from trials.datasets import Dataset, Split, load_dataset
from trials.networks import build_network
from trials.optimizers import build_optimizer
from trials.registry import call
from trials.tasks import Component


def by_default(*, flag=True): ...
def by_annotation(*, flag: bool): ...
def may_be_left_out(*, flag: bool | None = None): ...
def in_old_words(*, flag: Optional[bool] = None): ...  # noqa: UP045
def not_imported(*, flag: bool, other: Unheard = None): ...  # noqa: F821
def of_anything(*, flag: Any = False): ...


class Own:
    def __init__(self, *, flag: bool = False): ...


@pytest.mark.parametrize("value", ["no", "off", "yes", "false", "", 0, 1, [True]])
@pytest.mark.parametrize(
    "function", [by_default, by_annotation, may_be_left_out, in_old_words, not_imported, of_anything, Own]
)
def test_only_a_bool_is_taken_where_one_belongs(function, value):
    with pytest.raises(
        InvalidInput, match="network 'n': argument 'flag' must be true or false, got"
    ) as caught:
        call("network", "n", function, {"flag": value})
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)
    call("network", "n", function, {"flag": False})


def undeclared(*, mode): ...
def anything(**options): ...
def no_default(*, mode=None): ...


@pytest.mark.parametrize("word", ["no", "Off", "on", "YES"])
@pytest.mark.parametrize("function", [undeclared, anything, no_default])
def test_a_word_for_a_bool_is_taken_only_where_text_is_declared(function, word):
    with pytest.raises(InvalidInput, match=f"argument 'mode' is the text '{word}': write true or false.*str"):
        call("network", "n", function, {"mode": word})
    for other in (True, "none", 3):
        call("network", "n", function, {"mode": other})


def words(*, mode: str, kind: Literal["on", "off"] = "on", either: bool | str = False): ...


def test_words_are_taken_where_they_belong():
    call("network", "n", words, {"mode": "no", "kind": "off", "either": "yes"})


def numbers(*, width: int = 3, share=0.5, rate: float | None = None): ...


@pytest.mark.parametrize("argument", ["width", "share", "rate"])
def test_a_bool_is_no_number(argument):
    with pytest.raises(InvalidInput, match=f"'{argument}' must be a number, got True"):
        call("network", "n", numbers, {argument: True})
    call("network", "n", numbers, {argument: 2})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("image_folder", {"root": "x", "augment": "no"}),
        ("image_folder", {"root": "x", "resize": "no", "image_size": 8}),
        ("image_folder", {"root": "x", "stream": "off"}),
        ("imagenet", {"root": "x", "augment": "off"}),
        ("synthetic", {"augment": "no"}),
        ("cifar10", {"root": "x", "download": "no"}),
        ("mnist", {"root": "x", "augment": "off"}),
        ("svhn", {"root": "x", "extra": "no"}),
        ("svhn", {"root": "x", "download": "no"}),
    ],
)
def test_data_sets_take_no_word_for_a_bool(name, arguments):
    with pytest.raises(
        InvalidInput, match=rf"data set '{name}': argument .* must be true or false, got '(no|off)'"
    ):
        load_dataset(name, arguments, seed=0)


def test_an_own_network_is_frozen_by_no_word():
    name = "tests.trials.test_flags:Freezing"
    shape = {"input_shape": (4,), "num_classes": 2, "seed": 0}
    with pytest.raises(InvalidInput, match="argument 'freeze' must be true or false, got 'no'"):
        build_network(name, {"freeze": "no"}, **shape)
    assert next(build_network(name, {"freeze": False}, **shape).parameters()).requires_grad


class Freezing(torch.nn.Linear):
    def __init__(self, *, input_shape, num_classes, freeze=False):
        super().__init__(*input_shape, num_classes)
        if freeze:
            self.requires_grad_(False)


def test_an_optimizer_takes_no_word_for_a_bool():
    with pytest.raises(InvalidInput, match=r"nesterov.* must be true or false, got 'off'"):
        build_optimizer(Component(name="sgd", arguments={"momentum": 0.9, "nesterov": "off"}))


@pytest.mark.parametrize("field", ["augment", "channels_last"])
def test_an_own_data_set_is_augmented_by_no_word(field):
    split = Split(inputs=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2, dtype=torch.int64))
    about = {"num_classes": 1, "mean": (0.0,), "std": (1.0,)}
    with pytest.raises(InvalidInput, match=f"{field} must be true or false, got 'no'"):
        Dataset(train=split, validation=split, test=split, **about, **{field: "no"}).check()
    Dataset(train=split, validation=split, test=split, **about, **{field: np.False_}).check()
