"""What is nearly right gets a line that says what would do; what plain PyTorch builds is taken as it is."""

import numpy as np
import pytest
import torch
from torch import nn

from silo.errors import InvalidInput
from trials.datasets import Dataset, Split, load_dataset
from trials.networks import build_network
from trials.pruning import PRUNERS
from trials.registry import resolve
from trials.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("mytext.py:Mlp", "mytext:Mlp"),
        ("./mytext.py:Mlp", "mytext:Mlp"),
        ("nets/mytext.py:Mlp", "nets.mytext:Mlp"),
        ("nets\\mytext:Mlp", "nets.mytext:Mlp"),
        ("/home/me/mytext.py:Mlp", "mytext:Mlp"),
        ("../mytext.py:Mlp", "mytext:Mlp"),
        ("mytext:Mlp()", "mytext:Mlp"),
        ("mytext:Mlp(32)", "mytext:Mlp"),
        ("mytext::Mlp", "mytext:Mlp"),
        (" mytext : Mlp ", "mytext:Mlp"),
        ("mytext.Mlp", "mytext:Mlp"),
        ("torchvision.models.resnet18", "torchvision.models:resnet18"),
        ("mytext.py", "mytext:NAME"),
    ],
)
def test_a_name_that_is_nearly_right_is_shown_as_it_should_be(given, usual):
    with pytest.raises(InvalidInput) as caught:
        resolve("network", given, {"fc": 1})
    assert f"'package.module:name', so as '{usual}'" in str(caught.value) and repr(given) in str(caught.value)


def test_a_file_is_not_run_for_its_name(own_module):
    own_module("mytext", "raise SystemExit")
    with pytest.raises(InvalidInput, match="so as 'mytext:Mlp'"):
        resolve("network", "mytext.py:Mlp", {})


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("optimizer", "torch.optim:NAdam", ["'adamw'", "step(weights, gradients, mask, lr)"]),
        ("schedule", "torch.optim.lr_scheduler:StepLR", ["'cosine'", "(*, steps, steps_per_unit)"]),
        ("schedule", "silo.scheduler:SiloLR", ["'warmup_drops'"]),
        ("pruner", "torch.nn.utils.prune:L1Unstructured", ["'global_magnitude'"]),
        ("pruner", "torch.nn.utils.prune:l1_unstructured", ["'global_magnitude'"]),
        ("data set", "torchvision.datasets:CIFAR10", ["'cifar10'", "trials.datasets.Dataset"]),
        ("data set", "torch.utils.data:TensorDataset", ["trials.datasets.Dataset"]),
        ("network", "tests.trials.test_foreign:MADE", ["made already", "class or function"]),
    ],
)
def test_what_has_another_form_is_refused_with_what_would_do(kind, name, words):
    with pytest.raises(InvalidInput) as caught:
        resolve(kind, name, PRUNERS | SCHEDULES)
    for word in (kind, repr(name), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


MADE = nn.Linear(4, 2)


def built(name, arguments=(), shape=(3, 32, 32), classes=7):
    return build_network(name, dict(arguments), input_shape=shape, num_classes=classes, seed=0)


def test_a_network_of_torchvision_is_taken_as_it_is():
    network = built("torchvision.models:resnet18")
    assert network.fc.out_features == 7
    again = built("torchvision.models:resnet18", {"zero_init_residual": False})
    assert all(map(torch.equal, network.state_dict().values(), again.state_dict().values()))
    with pytest.raises(InvalidInput, match="'zero_init_residual' is the text 'no': write true or false"):
        built("torchvision.models:resnet18", {"zero_init_residual": "no"})
    with pytest.raises(TypeError, match="'widht'"):
        built("torchvision.models:resnet18", {"widht": 3})
    with pytest.raises(InvalidInput, match=r"'num_classes' .* can't be given"):
        built("torchvision.models:resnet18", {"num_classes": 3})


def takes_neither(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, width))


def takes_shape(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), 7))


class HandsOn(nn.Sequential):
    def __init__(self, **options):
        super().__init__(nn.Flatten(), nn.Linear(3072, options.pop("num_classes")))
        nn.Flatten(**options)


@pytest.mark.parametrize(
    ("name", "arguments"), [("takes_neither", {"width": 7}), ("takes_shape", {}), ("HandsOn", {})]
)
def test_a_network_is_given_what_it_takes(name, arguments):
    first, again = (built(f"{__name__}:{name}", arguments) for _ in range(2))
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))


def test_a_network_that_is_not_told_the_classes_says_where_they_go():
    with pytest.raises(InvalidInput, match=r"outputs of shape \(2, 9\).*takes no num_classes"):
        built(f"{__name__}:takes_neither", {"width": 9})


INPUTS, LABELS = torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)


def data_of(*, seed, kind):
    split = Split(inputs=INPUTS, labels=LABELS)
    train = {
        "tuple": lambda: (INPUTS, LABELS),
        "tensors": lambda: torch.utils.data.TensorDataset(INPUTS, LABELS),
        "loader": lambda: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, LABELS)),
        "none": lambda: None,
        "arrays": lambda: Split(inputs=INPUTS.numpy(), labels=LABELS),
        "lists": lambda: Split(inputs=INPUTS, labels=[0] * 4),
    }
    about = {"num_classes": 1, "mean": (0.0,), "std": (np.float32(1),)}
    about |= {"mean": {"mean": 0.5}, "classes": {"num_classes": "1"}, "std": {"std": ["1"]}}.get(kind, {})
    return Dataset(train=train.get(kind, lambda: split)(), validation=split, test=split, **about)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "tuple",
            r"the train split is of type builtins.tuple: .*Split\(inputs=train\[0\], labels=train\[1\]\)",
        ),
        (
            "tensors",
            r"of type torch.utils.data.dataset.TensorDataset: read its examples into a trials.datasets",
        ),
        ("loader", r"DataLoader: read its examples into"),
        ("none", r"builtins.NoneType: give a trials.datasets.Split"),
        ("arrays", r"has inputs of type ndarray: give a torch.Tensor"),
        ("lists", r"has labels of type list: give a torch.Tensor"),
        ("mean", r"mean 0.5 is no tuple of numbers"),
        ("std", r"std \['1'\] is no tuple of numbers"),
        ("classes", r"num_classes must be a whole number, got '1'"),
    ],
)
def test_a_split_of_another_form_is_named_with_what_would_do(kind, message):
    with pytest.raises(InvalidInput, match=message):
        load_dataset(f"{__name__}:data_of", {"kind": kind}, seed=0)
    load_dataset(f"{__name__}:data_of", {"kind": "right"}, seed=0)


def test_a_folder_of_torchvision_is_told_where_to_go(tmp_path):
    (tmp_path / "a").mkdir()
    from PIL import Image

    from trials.vision import load_torchvision

    Image.new("RGB", (2, 2)).save(tmp_path / "a" / "b.png")
    folder, split = load_torchvision().datasets.ImageFolder(tmp_path), Split(inputs=INPUTS, labels=LABELS)
    dataset = Dataset(train=split, validation=folder, test=split, num_classes=1, mean=(0.0,), std=(1.0,))
    with pytest.raises(
        InvalidInput, match=r"the validation split is .*ImageFolder: take the data set 'image_fo"
    ):
        dataset.check()
