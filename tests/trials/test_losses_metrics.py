"""The built-in loop is a plain PyTorch one: packed, alone, compiled; with own losses and metrics, too."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from silo.errors import InvalidInput
from tests.trials.toys import Exact, assert_same_outcome, double, random_masks, toy_network, toy_recipe, train
from trials.datasets import Split
from trials.engine import Engine
from trials.engine.graphs import as_traced, compile_all
from trials.networks import build_network
from trials.objectives import CrossEntropy, check_floor, make_loss, tried
from trials.process import derive_seed
from trials.tasks import Component, Execution, Metric
from trials.training import TrainedCopy

HERE = __name__
WIDTH, CLASSES, STEPS, BATCH = 6, 4, 12, 8
PER_EPOCH, CYCLE, REPLICATE = 6, 2, 1
WARMUP, DROPS = 3, (7, 10)
RATES = [0.01, 0.05, 0.2]


def smooth_l1(outputs, targets, *, beta=1.0):
    return functional.smooth_l1_loss(outputs, targets, beta=beta)


def weighted(outputs, targets):  # of targets [B, 2, 3]: a value and its weight, row by row
    return (targets[:, 1] * (outputs.reshape(-1, 3) - targets[:, 0]).square()).mean()


def rmse(outputs, targets):
    return (outputs - targets).square().mean().sqrt()


def f1(outputs, targets):
    """Of class 0: no mean over batches."""
    found, there = outputs.argmax(1) == 0, targets == 0
    return 2 * (found & there).sum() / (found.sum() + there.sum()).clamp(min=1)


class Focal(nn.Module):
    """With a buffer, as torch.nn's losses hold their weights."""

    def __init__(self, *, gamma):
        super().__init__()
        self.register_buffer("gamma", torch.tensor(gamma))

    def forward(self, outputs, targets):
        chances = outputs.softmax(1).gather(1, targets[:, None])
        return -((1 - chances) ** self.gamma * chances.log()).mean()


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs, targets):
        return (self.scale * (outputs - targets)).square().mean()


class NoCall:
    """A class whose instances are no functions."""


class Largest:
    """As torchmetrics': the largest error so far."""

    def __init__(self, *, scale=1.0):
        self.scale, self.seen = scale, torch.tensor(0.0)

    def update(self, outputs, targets):
        self.seen = torch.maximum(self.seen, self.scale * (outputs - targets).abs().max())

    def compute(self):
        return self.seen


class Tokens(nn.Module):
    """Token ids to one output per class."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 5), nn.Linear(5, num_classes)

    def forward(self, ids):
        return self.head(self.table(ids).mean(1))


class Frozen(nn.Module):
    """A frozen layer, a shared weight, running statistics by assignment, and a constant of no state."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.stem.requires_grad_(False)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("shift", torch.full((6,), 0.25), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.detach().mean(0)
        features = (self.stem(inputs - self.mean) + self.shift).relu()
        return self.head(self.second(self.first(features).relu()).relu())


def data(inputs, targets, **fields):
    parts = [(0, 50), (50, 73), (73, 102)]
    splits = [
        Split(inputs=inputs(stop - start, start), labels=targets(stop - start, start))
        for start, stop in parts
    ]
    return Kept(**dict(zip(("train", "validation", "test"), splits, strict=True)), **fields)


class Kept(Exact):
    def normalise(self, inputs):
        return inputs.double() if inputs.is_floating_point() else inputs.long()


def draws(seed):
    return torch.Generator().manual_seed(seed)


def numbers(*shape):
    return lambda count, seed: torch.randn(count, *shape, generator=draws(seed), dtype=torch.float64)


def classes(count, seed):
    return torch.randint(CLASSES, (count,), generator=draws(seed))


def weights(count, seed):
    return torch.rand(count, 2, 3, generator=draws(seed), dtype=torch.float64)


def fc(outputs):
    return lambda: build_network("fc", {"hidden": [7]}, input_shape=(WIDTH,), num_classes=outputs, seed=0)


# What is trained: data, network, loss, metric, largest norm of a gradient.
ACCURACY = Metric()
PLAIN = Component(name="cross_entropy")
CASES = {
    "residual": (
        data(numbers(1, 8, 8), classes, num_classes=CLASSES),
        lambda: toy_network("resnet20", shape=(1, 8, 8)),
        PLAIN,
        ACCURACY,
        None,
    ),
    "frozen, shared, assigned": (
        data(numbers(WIDTH), classes, num_classes=CLASSES),
        lambda: Frozen(),
        PLAIN,
        ACCURACY,
        None,
    ),
    "label smoothing": (
        data(numbers(WIDTH), classes, num_classes=CLASSES),
        fc(CLASSES),
        Component(name="cross_entropy", arguments={"label_smoothing": 0.2}),
        ACCURACY,
        None,
    ),
    "class weights, F1": (
        data(numbers(WIDTH), classes, num_classes=CLASSES),
        fc(CLASSES),
        Component(name="cross_entropy", arguments={"weight": [1, 2.5, 0.5, 0]}),
        Metric(name="F1", function=Component(name=f"{HERE}:f1")),
        None,
    ),
    "regression, clipped": (
        data(numbers(WIDTH), numbers(3)),
        fc(3),
        Component(name=f"{HERE}:smooth_l1", arguments={"beta": 0.5}),
        Metric(name="rmse", function=Component(name=f"{HERE}:rmse"), goal="min"),
        0.05,
    ),
    "a module's": (
        data(numbers(WIDTH), classes, num_classes=CLASSES),
        fc(CLASSES),
        Component(name=f"{HERE}:Focal", arguments={"gamma": 1.5}),
        ACCURACY,
        None,
    ),
    "targets of another shape": (
        data(numbers(WIDTH), weights),
        fc(3),
        Component(name=f"{HERE}:weighted"),
        Metric(name="error", function=Component(name=f"{HERE}:far"), goal="min"),
        0.5,
    ),
    "token ids": (
        data(lambda n, s: torch.randint(9, (n, 4), generator=draws(s)), classes, num_classes=CLASSES),
        lambda: Tokens(num_classes=CLASSES),
        Component(name="torch.nn.functional:cross_entropy"),
        ACCURACY,
        0.02,
    ),
}


def far(outputs, targets):
    return (outputs.reshape(-1, 3) - targets[:, 0]).abs().mean()


def score_of(network, metric, split):
    network.eval()
    inputs = split.inputs.double() if split.inputs.is_floating_point() else split.inputs
    with torch.no_grad():
        outputs = network(inputs)
    if metric.function is None:
        return (outputs.argmax(1) == split.labels).double().mean().item()
    return globals()[metric.function.name.partition(":")[2]](outputs, split.labels).item()


def plain_loss(loss, outputs, targets):
    if loss.name == "cross_entropy":
        given = {**loss.arguments}
        if "weight" in given:
            given["weight"] = torch.tensor(given["weight"], dtype=torch.float64)
        return functional.cross_entropy(outputs, targets, **given)
    if loss.name.startswith("torch"):
        return functional.cross_entropy(outputs, targets)
    found = globals()[loss.name.partition(":")[2]]
    if isinstance(found, type):
        return found(**loss.arguments)(outputs, targets)
    return found(outputs, targets, **loss.arguments)


def plain_training(module, start, masks, data, loss, metric, clip, max_lr, seed=5):
    """One candidate, with nothing of what is tested but the seed of its batches' order."""
    network = copy.deepcopy(module).double()
    network.load_state_dict(start)
    parameters = dict(network.named_parameters())
    optimizer = torch.optim.SGD(network.parameters(), lr=max_lr, momentum=0.9, weight_decay=1e-3)
    order = torch.Generator().manual_seed(derive_seed(seed, REPLICATE, CYCLE, "order"))
    best, losses, step = None, [], 0
    for name, mask in masks.items():
        parameters[name].data[~mask] = 0.0
    while step < STEPS:
        network.train()
        losses = []
        for chosen in torch.randperm(len(data.train), generator=order).split(BATCH)[:PER_EPOCH]:
            drops = sum(step >= drop for drop in DROPS)
            optimizer.param_groups[0]["lr"] = max_lr * min(1.0, (step + 1) / WARMUP) * 0.1**drops
            optimizer.zero_grad()
            value = plain_loss(
                loss, network(data.normalise(data.train.inputs[chosen])), data.train.labels[chosen]
            )
            value.backward()
            for name, mask in masks.items():
                if parameters[name].grad is not None:
                    parameters[name].grad[~mask] = 0.0
            if clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            losses.append(value.item())
            step += 1
        score = score_of(network, metric, data.validation)
        if best is None or (score > best[0] if metric.goal == "max" else score < best[0]):
            best = score, step, copy.deepcopy(network.state_dict()), score_of(network, metric, data.test)
    return TrainedCopy(
        score=best[0],
        test_score=best[3],
        best_step=best[1],
        diverged=False,
        train_loss=sum(losses) / len(losses),
        state=best[2],
    )


@pytest.fixture(autouse=True)
def same_networks():
    """Networks draw their weights as PyTorch's do; a test sees the same ones in any order."""
    torch.manual_seed(0)


WAYS = [(way, case) for case in CASES for way in ("packed", "alone", "traced")]
WAYS.remove(("traced", "residual"))  # of which test_graph_steps.py traces a step
COMPILED = pytest.param("compiled", "regression, clipped", marks=pytest.mark.slow)


@pytest.mark.parametrize(("way", "case"), [*WAYS, COMPILED])
def test_the_built_in_loop_is_a_plain_one(case, way):
    data, make, loss, metric, clip = CASES[case]
    module = make()
    masks, start = random_masks(module, 0.7), double(module.state_dict())
    size = 1 if way == "alone" else 3
    execution = Execution(pack_size=size, compiled=way in ("traced", "compiled"))
    optimizer = Component(name="sgd", arguments={"momentum": 0.9, "weight_decay": 1e-3})
    schedule = {"warmup": WARMUP / PER_EPOCH, "drops": [drop / PER_EPOCH for drop in DROPS]}
    recipe = toy_recipe(
        length=STEPS // PER_EPOCH,
        schedule=Component(name="warmup_drops", arguments=schedule),
        loss=loss,
        metric=metric,
        clip=clip,
        optimizer=optimizer,
        execution=execution,
    )
    engine = Engine(module, recipe, compiler=as_traced if way == "traced" else compile_all)
    where = {"start": start, "cycle": CYCLE, "replicate": REPLICATE}
    with torch.no_grad():  # what a training starts from is given, the module's own weights play no part
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.fill_(float("nan"))
    found = train(module, data, recipe, RATES, masks=masks, engine=engine, **where)
    assert engine.traced == execution.compiled
    for max_lr, one in zip(RATES, found, strict=True):
        plain = plain_training(module, start, masks, data, loss, metric, clip, max_lr)
        assert_same_outcome(one, plain)
        assert not any(one.state[name][~mask].any() for name, mask in masks.items())
        assert [each.step for each in one.curve] == [6, 12]
        best = (max if metric.goal == "max" else min)(each.score for each in one.curve)
        assert one.score == best and one.curve[-1].train_loss == one.train_loss
    if clip is not None:  # the bound is met, so that it is seen to hold
        free = replace(recipe, clip=None, execution=Execution())
        unclipped = train(module, data, free, RATES, masks=masks, **where)
        assert unclipped[-1].train_loss != pytest.approx(found[-1].train_loss, rel=1e-3)


def test_what_is_frozen_stays_and_what_is_shared_stays_shared():
    data, make, *_ = CASES["frozen, shared, assigned"]
    module = make()
    start = double(module.state_dict())
    for pack_size in (1, 2):
        rates = [0.1, 0.2][:pack_size]
        outcome, *_ = train(module, data, toy_recipe(pack_size=pack_size), rates, start=start)
        assert outcome.best_step and "shift" not in outcome.state
        assert torch.equal(outcome.state["stem.weight"], start["stem.weight"])
        assert not torch.allclose(outcome.state["first.weight"], start["first.weight"])
        assert torch.equal(outcome.state["first.weight"], outcome.state["second.weight"])
        assert outcome.state["mean"].abs().min() > 0
        module.load_state_dict(outcome.state)


@pytest.mark.parametrize("goal", ["max", "min"])
def test_a_training_that_diverged_gets_the_score_of_zeros_or_the_spec_s(goal):
    data, make, loss, metric, _ = CASES["regression, clipped"]
    recipe = toy_recipe(length=2, loss=loss, metric=replace(metric, goal=goal))
    (outcome,) = train(make(), data, recipe, [1e200])
    assert outcome.diverged
    assert outcome.score == pytest.approx(data.validation.labels.square().mean().sqrt().item(), rel=1e-6)
    assert outcome.test_score == pytest.approx(data.test.labels.square().mean().sqrt().item(), rel=1e-6)
    told = replace(recipe, metric=replace(metric, goal=goal, diverged=7.5))
    (outcome,) = train(make(), data, told, [1e200])
    assert (outcome.score, outcome.test_score) == (7.5, 7.5)


def test_a_metric_with_update_and_compute_sees_all_batches(monkeypatch):
    monkeypatch.setattr("trials.engine.engine.EVALUATION_BATCH", 7)
    metric = Metric(
        name="worst", function=Component(name=f"{HERE}:Largest", arguments={"scale": 2.0}), goal="min"
    )
    data, make, loss, _, _ = CASES["regression, clipped"]
    for size in (1, 3):
        recipe = toy_recipe(length=1, loss=loss, metric=metric, execution=Execution(pack_size=size))
        module = make()
        for outcome in train(module, data, recipe, RATES):
            network = make().double()
            network.load_state_dict(outcome.state)
            error = (network(data.validation.inputs) - data.validation.labels).abs().max().item()
            assert outcome.score == pytest.approx(2 * error, rel=1e-9)


def vector(outputs, targets):
    return (outputs - targets).square().mean(1)


def nothing(outputs, targets):
    return None


def one_argument(outputs):
    return outputs.mean()


def softened(outputs, targets, *, soft=False):
    return functional.mse_loss(outputs, targets / 2 if soft else targets)


class NoCompute:
    def update(self, outputs, targets):
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vector", r"training.loss gives a tensor of shape \(50,\): it must be one number.*loss.mean\(\)"),
        ("nothing", "training.loss gives NoneType: it must give a tensor of one number"),
    ],
)
def test_a_loss_that_is_no_number_is_refused(name, words):
    data, make, *_ = CASES["regression, clipped"]
    recipe = toy_recipe(length=1, batch_size=50, loss=Component(name=f"{HERE}:{name}"))
    recipe = replace(recipe, metric=CASES["regression, clipped"][3])
    with pytest.raises(InvalidInput, match=words):
        train(make(), data, recipe, [0.1])


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (Component(name=f"{HERE}:one_argument"), r"can't be called as function\(outputs, targets, …\)"),
        (Component(name=f"{HERE}:smooth_l1", arguments={"gamma": 1}), "gamma"),
        (Component(name=f"{HERE}:smooth_l1", arguments={"beta": True}), "'beta' must be a number, got True"),
        (
            Component(name=f"{HERE}:softened", arguments={"soft": "no"}),
            "'soft' must be true or false, got 'no'; YAML reads no, off, on and yes as text",
        ),
        (
            Component(name=f"{HERE}:Learned"),
            r"has parameters of its own \(scale\), which nothing",
        ),
        (Component(name=f"{HERE}:NoCall"), "is no function but NoCall"),
        (Component(name="torch.nn:MSELoss", arguments={"power": 3}), "power"),
        (Component(name="cross_entropi"), "unknown loss 'cross_entropi'.*did you mean 'cross_entropy'"),
        (Component(name="cross_entropy", arguments={"label_smoothing": 2}), r"in \[0, 1\], got 2"),
        (
            Component(name="cross_entropy", arguments={"weight": [1, -1]}),
            "one number of at least 0 per class",
        ),
        (Component(name="cross_entropy", arguments={"smoothing": 0.1}), "takes no argument 'smoothing'"),
    ],
)
def test_a_loss_that_can_t_be_called_is_refused(component, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        make_loss(component)
    assert "\n" not in str(caught.value)


def test_class_weights_are_one_per_class():
    with pytest.raises(InvalidInput, match="weight has 2 numbers for 4 classes"):
        CrossEntropy(weight=[1, 2])(torch.zeros(3, 4), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vector", r"gives Tensor of shape \(5,\): it must give one number"),
        ("nothing", "gives NoneType: it must give one number"),
        ("NoCompute", r"is a class without compute\(\)"),
        ("f1", r"fails on outputs of shape \(5, 3\) and targets of shape \(5, 3\)"),
    ],
)
def test_a_metric_that_gives_no_number_is_refused(name, words):
    outputs, targets = torch.zeros(5, 3), torch.zeros(5, 3, dtype=torch.long)
    with pytest.raises(InvalidInput, match=words) as caught:
        tried(Metric(name=name, function=Component(name=f"{HERE}:{name}")), outputs, targets)
    assert "\n" not in str(caught.value)


def test_a_metric_of_zeros_that_is_nan_needs_a_score_for_what_diverged():
    metric = Metric(name="correlation", function=Component(name=f"{HERE}:rmse"))
    with pytest.raises(
        InvalidInput, match=r"correlation of outputs that are all zero.*is nan: give metric.diver"
    ):
        check_floor(metric, float("nan"))
    check_floor(replace(metric, diverged=0.0), float("nan"))
