"""Text is true to Python, whatever it says: where a bool belongs, only a bool is taken."""

from __future__ import annotations

from typing import Any, Literal, Optional

import numpy as np
import pytest
import torch

from silo.errors import InvalidInput
from trials.datasets import Dataset, Split
from trials.registry import call


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


@pytest.mark.parametrize("field", ["augment", "channels_last"])
def test_an_own_data_set_is_augmented_by_no_word(field):
    split = Split(inputs=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2, dtype=torch.int64))
    about = {"num_classes": 1, "mean": (0.0,), "std": (1.0,)}
    with pytest.raises(InvalidInput, match=f"{field} must be true or false, got 'no'"):
        Dataset(train=split, validation=split, test=split, **about, **{field: "no"}).check()
    Dataset(train=split, validation=split, test=split, **about, **{field: np.False_}).check()
