"""A training as anybody writes it: module(inputs), backward, torch's optimizer; and one of ours beside it."""

import random

import numpy
import torch
from torch.nn.functional import cross_entropy

from tests.trials.toys import random_masks, toy_recipe
from trials.engine import named_tensors
from trials.process import derive_seed, generator
from trials.tasks import Component
from trials.training import train_pack

STEPS, BATCH, MOMENTUM, DECAY = 5, 8, 0.9, 5e-3
ROUNDING = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 3e-3}


def recipe(**changes):
    fields = {
        "unit": "iterations",
        "length": STEPS,
        "evaluate_every": STEPS,
        "batch_size": BATCH,
        "optimizer": Component(name="sgd", arguments={"momentum": MOMENTUM, "weight_decay": DECAY}),
    }
    return toy_recipe(**fields | changes)


def plain_training(network, masks, data, max_lr):
    """The state after a few steps, and the right answers on the validation split.

    Where the loss doesn't depend on a parameter, its gradient is zero.
    """
    told = recipe()
    seed = derive_seed(told.seed, 0, 0, "forward")
    order = torch.randperm(len(data.train), generator=generator(told.seed, 0, 0, "order"))
    parameters = dict(network.named_parameters())

    def mask_all(tensors):
        for name, mask in masks.items():
            if tensors[name] is not None:
                tensors[name][~mask] = 0

    mask_all({name: each.data for name, each in parameters.items()})
    optimizer = torch.optim.SGD(network.parameters(), lr=max_lr, momentum=MOMENTUM, weight_decay=DECAY)
    torch.manual_seed(seed), numpy.random.seed(seed % 2**32), random.seed(seed)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    network.train()
    for step in range(STEPS):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad(set_to_none=False)
        loss = cross_entropy(network(data.normalise(data.train.inputs[chosen])), data.train.labels[chosen])
        loss.backward()
        mask_all({name: each.grad for name, each in parameters.items()})
        optimizer.step()
    network.eval()
    with torch.no_grad():
        outputs = network(data.normalise(data.validation.inputs))
    return network.state_dict(), (outputs.argmax(1) == data.validation.labels).sum().item()


def assert_trained_as_plainly(build, data, *, pack_size=1, rates=(0.02, 0.1)):
    """That one module after another training ends where fresh ones do in a plain loop.

    Args:
        build: Gives a network; the same one each time.
        data: A data set.
        pack_size: How many candidates are trained together.
        rates: Learning rates.
    """
    module = build()
    masks = random_masks(module, 0.8)
    ours = train_pack(
        module=module,
        start=named_tensors(build()),  # whoever reads a spectrally normed weight has changed it
        masks=masks,
        data=data,
        recipe=recipe(pack_size=pack_size),
        cycle=0,
        replicate=0,
        max_lrs=rates,
    )
    for rate, trained in zip(rates, ours, strict=True):
        state, correct = plain_training(build(), masks, data, rate)
        assert trained.state.keys() == state.keys() and not trained.diverged
        moved, share = 0, max(ROUNDING.get(tensor.dtype, 0.0) for tensor in state.values())
        for name, tensor in state.items():
            mine = trained.state[name]
            assert mine.dtype == tensor.dtype, name
            scale = max(0.1, float(tensor.abs().max())) if tensor.numel() else 0.0
            told = {"msg": lambda text, name=name: f"{name}: {text}"}
            torch.testing.assert_close(mine, tensor, rtol=share, atol=share * scale, **told)
            moved += not torch.equal(mine, named_tensors(module).get(name, mine))
        assert moved
        assert abs(trained.score * len(data.validation) - correct) <= 1  # of two nearly equal outputs
