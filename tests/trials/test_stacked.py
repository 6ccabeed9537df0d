import pytest
import torch
from torch import nn

from tests.trials.toys import double, random_masks, toy_network
from trials.engine import StackedNetwork, flat_mask, named_tensors

CPU = torch.device("cpu")


class Tied(nn.Module):
    """A weight that two layers share."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


class Odd(nn.Module):
    """A frozen parameter, a scalar one, and buffers of every kind."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.arange(6.0).view(2, 3), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("causal", torch.full((2, 2), float("-inf")).triu(1))
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.register_buffer("nothing", None)


def networks():
    return {
        "fc": toy_network(),
        "resnet20": toy_network("resnet20", shape=(1, 8, 8)),
        "tied": Tied(),
        "odd": Odd(),
    }


@pytest.mark.parametrize("name", networks())
def test_every_copy_is_what_state_dict_holds(name):
    module = networks()[name]
    copies = StackedNetwork.of(module, module.state_dict(), 3, CPU)
    expected = module.state_dict()
    for index in range(3):
        state = copies.state(index)
        assert list(state) == list(expected)
        for key, tensor in expected.items():
            assert torch.equal(state[key], tensor) and state[key].dtype == tensor.dtype, key
        module.load_state_dict(state)


@pytest.mark.parametrize("name", networks())
def test_parameters_are_views_of_the_flat_row_in_the_networks_order(name):
    module = networks()[name]
    copies = StackedNetwork.of(module, double(module.state_dict()), 2, CPU)
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert list(copies.parameters) == trained
    copies.flat.copy_(torch.arange(copies.flat.numel()).view_as(copies.flat))
    for index in range(2):
        row = torch.cat([copies.parameters[name][index].reshape(-1) for name in trained])
        assert torch.equal(row, copies.flat[index])
        assert torch.equal(copies.state(index)[trained[-1]].reshape(-1)[-1], copies.flat[index, -1])


def test_copies_share_nothing_with_what_they_start_from():
    module = networks()["resnet20"]
    state = module.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    copies = StackedNetwork.of(module, state, 2, CPU)
    taken = copies.state(0)
    copies.flat.add_(1)
    for buffer in copies.buffers.values():
        buffer[0] += 1
        assert not torch.equal(buffer[0], buffer[1])
    for name, tensor in before.items():
        assert torch.equal(state[name], tensor) and torch.equal(taken[name], tensor)


def test_a_clone_shares_nothing():
    module = networks()["resnet20"]
    copies = StackedNetwork.of(module, module.state_dict(), 2, CPU)
    clone = copies.clone(module)
    before = [clone.state(index) for index in range(2)]
    copies.flat.zero_()
    for buffer in copies.buffers.values():
        buffer.add_(7)
    for index in range(2):
        assert all(torch.equal(tensor, clone.state(index)[name]) for name, tensor in before[index].items())
    assert clone.parameters["conv.weight"].data_ptr() == clone.flat.data_ptr()


@pytest.mark.parametrize("chosen", [[False, False, False], [True, False, True], [True, True, True]])
def test_take_overwrites_the_chosen_copies_alone(chosen):
    module = networks()["resnet20"]
    copies = StackedNetwork.of(module, module.state_dict(), 3, CPU)
    other = copies.clone(module)
    other.flat.add_(1)
    for buffer in other.buffers.values():
        buffer.add_(1)
    old = [copies.state(index) for index in range(3)]
    copies.take(other, torch.tensor(chosen))
    for index, taken in enumerate(chosen):
        expected = other.state(index) if taken else old[index]
        state = copies.state(index)
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert copies.buffers["norm.num_batches_tracked"].tolist() == [int(taken) for taken in chosen]
    assert torch.equal(copies.parameters["head.bias"], copies.flat[:, -4:])


def test_a_shared_weight_is_one_and_goes_by_both_names():
    module = networks()["tied"]
    copies = StackedNetwork.of(module, module.state_dict(), 2, CPU)
    assert copies.flat.shape == (2, 4 * 4 + 4 + 4)
    copies.parameters["first.weight"].add_(1)
    state = copies.state(1)
    assert torch.equal(state["first.weight"], state["second.weight"])
    assert torch.equal(state["second.weight"], module.first.weight + 1)


def test_a_frozen_parameter_is_no_part_of_the_row():
    module = networks()["odd"]
    copies = StackedNetwork.of(module, module.state_dict(), 2, CPU)
    assert "positions" in copies.buffers and "positions" not in copies.parameters
    assert copies.flat.shape == (2, 1 + 3 + 3)


def test_buffers_that_no_state_holds_are_the_modules_own():
    module = networks()["odd"]
    state = module.state_dict()
    assert "table" not in state
    copies = StackedNetwork.of(module, state, 2, CPU)
    assert torch.equal(copies.buffers["table"], module.table.expand(2, 3))
    assert "table" not in copies.state(0)
    given = StackedNetwork.of(module, {**state, "table": torch.ones(3)}, 2, CPU)
    assert torch.equal(given.buffers["table"], torch.ones(2, 3))


def test_named_tensors_hold_what_state_dict_leaves_out_and_shared_ones_once():
    assert set(named_tensors(networks()["tied"])) == {"first.weight", "first.bias", "second.bias"}
    odd = named_tensors(networks()["odd"])
    assert set(odd) == {*networks()["odd"].state_dict(), "table"}
    assert not any(tensor.requires_grad for tensor in odd.values())


@pytest.mark.parametrize("name", ["fc", "resnet20"])
def test_the_flat_mask_lies_over_the_flat_row(name):
    module = networks()[name]
    masks = random_masks(module)
    mask = flat_mask(module, dict(reversed(masks.items())), CPU)
    ones = {key: torch.ones_like(parameter) for key, parameter in module.named_parameters()}
    copies = StackedNetwork.of(module, {**module.state_dict(), **ones}, 1, CPU)
    copies.flat.mul_(mask)
    for key, tensor in copies.parameters.items():
        expected = masks[key].float() if key in masks else torch.ones_like(tensor[0])
        assert torch.equal(tensor[0], expected), key
    assert mask.dtype == torch.float32 and set(mask.tolist()) == {0.0, 1.0}


def test_the_flat_mask_without_masks_is_all_ones_and_leaves_frozen_parameters_out():
    assert flat_mask(networks()["odd"], {}, CPU).tolist() == [1.0] * 7
    assert flat_mask(toy_network().double(), {}, CPU).dtype == torch.float64


def test_each_parameter_keeps_its_own_type_and_what_that_can_hold():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2).bfloat16())
    copies = StackedNetwork.of(module, named_tensors(module), 2, CPU)
    assert copies.flat.dtype == torch.float32 and copies.types == dict.fromkeys(
        ("1.weight", "1.bias"), torch.bfloat16
    )
    copies.parameters["1.weight"].fill_(1 + 1e-4)
    with copies.opened(1) as tensors:
        assert {name: each.dtype for name, each in tensors.items()} == {
            name: each.dtype for name, each in module.named_parameters()
        }
    assert copies.parameters["1.weight"][1].eq(1).all()  # an update that is too small for it is lost
    assert copies.parameters["1.weight"][0].ne(1).all()
    assert copies.state(0)["1.weight"].dtype == torch.bfloat16


def test_a_complex_parameter_is_a_pair_of_numbers():
    module = nn.Linear(3, 2)
    module.phase = nn.Parameter(torch.tensor([1 + 2j, 3 + 4j, 5 + 6j]))
    copies = StackedNetwork.of(module, named_tensors(module), 1, CPU)
    assert copies.flat.shape == (1, 3 * 2 + 2 + 2 * 3) and not copies.flat.is_complex()
    assert torch.equal(copies.state(0)["phase"], module.phase.detach())
    with copies.opened(0) as tensors:
        tensors["phase"].mul_(2)
    assert torch.equal(copies.state(0)["phase"], 2 * module.phase.detach())
    mask = {"phase": torch.tensor([True, False, True])}
    assert flat_mask(module, mask, CPU)[-6:].tolist() == [1, 1, 0, 0, 1, 1]
