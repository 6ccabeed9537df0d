"""Forward passes written out once more, slowly and from the state dict alone: what is wired to what."""

import itertools

import pytest
import torch
from torch.nn import functional

from trials.networks import build_network

MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def compare(name, arguments, shape, reference, *, training, scale=1.0):
    """That the network's logits are the reference's, with all weights and statistics drawn at random."""
    network = build_network(name, arguments, input_shape=shape, num_classes=5, seed=0).double()
    draw = torch.Generator().manual_seed(1)
    for key, tensor in network.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            low = 0.5 if key.endswith(("var", "weight")) else -0.5
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + low)
        elif not tensor.count_nonzero():  # a transformer's class token and head
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    inputs = scale * torch.randn(3, *shape, dtype=torch.float64, generator=draw)
    with torch.no_grad():
        found = network.train(training)(inputs)
        expected = reference(State(state, training), inputs)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


class State:
    """Layers by their names in a state dict."""

    def __init__(self, tensors, training):
        self.tensors, self.training = tensors, training

    def get(self, name):
        return self.tensors[name]

    def conv(self, values, name, **options):
        bias = self.tensors.get(f"{name}.bias")
        return functional.conv2d(values, self.get(f"{name}.weight"), bias, **options)

    def pointwise(self, values, name):
        return torch.einsum("bchw,oc->bohw", values, self.get(f"{name}.weight")[:, :, 0, 0])

    def depthwise(self, values, name, stride):
        """A 3×3 convolution within each channel, as a sum over the nine places of the kernel."""
        kernel, size = self.get(f"{name}.weight"), values.shape[2:]
        padded = functional.pad(values, (1, 1, 1, 1))
        places = [(row, column) for row in range(3) for column in range(3)]
        shifted = [padded[:, :, row : row + size[0], column : column + size[1]] for row, column in places]
        return sum(
            part[:, :, ::stride, ::stride] * kernel[:, 0, row, column, None, None]
            for part, (row, column) in zip(shifted, places, strict=True)
        )

    def norm(self, values, name, channels=slice(None)):
        mean, var, scale, shift = (
            self.get(f"{name}.{key}")[channels, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        if self.training:
            mean = values.mean((0, 2, 3))[:, None, None]
            var = values.var((0, 2, 3), correction=0)[:, None, None]
        return (values - mean) / (var + 1e-5).sqrt() * scale + shift

    def linear(self, values, name):
        return values @ self.get(f"{name}.weight").T + self.get(f"{name}.bias")


def alexnet(state, inputs):
    values = functional.max_pool2d(state.conv(inputs, "features.0", stride=4, padding=5).relu(), 2)
    assert values.shape[1:] == (64, 4, 4)
    values = functional.max_pool2d(state.conv(values, "features.3", padding=2).relu(), 2)
    for name in ("features.6", "features.8", "features.10"):
        values = state.conv(values, name, padding=1).relu()
    values = values.amax((2, 3))
    return state.linear(values, "head")


@MODES
def test_alexnet(training):
    compare("alexnet", {}, (2, 32, 32), alexnet, training=training)


def vgg19(state, inputs):
    values, index = inputs, 0
    for convolutions in (2, 2, 4, 4, 4):
        for _ in range(convolutions):
            values = state.norm(state.conv(values, f"features.{index}", padding=1), f"features.{index + 1}")
            values, index = values.relu(), index + 3
        values, index = functional.max_pool2d(values, 2), index + 1
    return state.linear(values.flatten(1), "head")


@MODES
def test_vgg19(training):
    compare("vgg19", {}, (2, 32, 32), vgg19, training=training)


def resnet20(shortcut):
    def forward(state, inputs):
        values = state.norm(state.conv(inputs, "conv", padding=1), "norm").relu()
        for index in range(9):
            block, halves = f"blocks.{index}", index in (3, 6)
            carried = values
            if halves and shortcut == "identity":
                channels = values.shape[1]
                carried = torch.zeros_like(values).repeat(1, 2, 1, 1)[:, :, ::2, ::2]
                carried[:, channels // 2 : channels // 2 + channels] = values[:, :, ::2, ::2]
            elif halves:
                projected = state.pointwise(values[:, :, ::2, ::2], f"{block}.shortcut.0")
                carried = state.norm(projected, f"{block}.shortcut.1")
            values = state.conv(values, f"{block}.conv1", stride=2 if halves else 1, padding=1)
            values = state.norm(values, f"{block}.norm1").relu()
            values = state.norm(state.conv(values, f"{block}.conv2", padding=1), f"{block}.norm2")
            values = (values + carried).relu()
        assert values.shape[1] == 64
        return state.linear(values.mean((2, 3)), "head")

    return forward


@MODES
@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_resnet20(shortcut, training):
    compare("resnet20", {"shortcut": shortcut}, (2, 8, 12), resnet20(shortcut), training=training)


def densenet40(state, inputs):
    """Keeps the layers' outputs apart: each kernel meets the piece that its channels belong to."""
    pieces, index = [state.conv(inputs, "conv", padding=1)], 0

    def activated(name):
        ends = torch.tensor([0] + [piece.shape[1] for piece in pieces]).cumsum(0).tolist()
        places = [slice(low, high) for low, high in itertools.pairwise(ends)]
        return [
            (state.norm(piece, name, place).relu(), place)
            for piece, place in zip(pieces, places, strict=True)
        ]

    for block in range(3):
        for _ in range(12):
            name = f"layers.{index}"
            kernel = state.get(f"{name}.conv.weight")
            assert kernel.shape[0] == 12
            parts = [
                functional.conv2d(values, kernel[:, place], padding=1)
                for values, place in activated(f"{name}.norm")
            ]
            pieces.append(sum(parts))
            index += 1
        if block < 2:
            name = f"layers.{index}"
            kernel = state.get(f"{name}.conv.weight")
            mixed = sum(
                functional.conv2d(values, kernel[:, place]) for values, place in activated(f"{name}.norm")
            )
            corners = [mixed[:, :, row::2, column::2] for row in range(2) for column in range(2)]
            pieces = [sum(corners) / 4]
            index += 1
    features = torch.cat([values.mean((2, 3)) for values, _ in activated("norm")], dim=1)
    assert features.shape[1] == 24 + 36 * 12
    return state.linear(features, "head")


@MODES
def test_densenet40(training):
    compare("densenet40", {}, (2, 8, 12), densenet40, training=training)


# Each block's channels, stride, and what is added to its output: nothing, its input, or a projection of it.
NOTHING, INPUT, PROJECTION = range(3)
INVERTED = [
    (16, 1, PROJECTION),
    (24, 1, PROJECTION),
    (24, 1, INPUT),
    (32, 2, NOTHING),
    (32, 1, INPUT),
    (32, 1, INPUT),
    (64, 2, NOTHING),
    (64, 1, INPUT),
    (64, 1, INPUT),
    (64, 1, INPUT),
    (96, 1, PROJECTION),
    (96, 1, INPUT),
    (96, 1, INPUT),
    (160, 2, NOTHING),
    (160, 1, INPUT),
    (160, 1, INPUT),
    (320, 1, PROJECTION),
]


def mobilenetv2(shortcut):
    def forward(state, inputs):
        values = state.norm(state.conv(inputs, "conv", padding=1), "norm").clamp(0, 6)
        for index, (channels, stride, added) in enumerate(INVERTED):
            block = f"blocks.{index}"
            wide = state.norm(state.pointwise(values, f"{block}.expand"), f"{block}.norm1").clamp(0, 6)
            assert wide.shape[1] == values.shape[1] * (6 if index else 1)
            wide = state.norm(state.depthwise(wide, f"{block}.depthwise", stride), f"{block}.norm2")
            outputs = state.pointwise(wide.clamp(0, 6), f"{block}.project")
            outputs = state.norm(outputs, f"{block}.norm3")
            assert outputs.shape[1] == channels
            if added == INPUT:
                outputs = outputs + values
            elif added == PROJECTION and shortcut == "conv":
                projected = state.pointwise(values, f"{block}.shortcut.0")
                outputs = outputs + state.norm(projected, f"{block}.shortcut.1")
            values = outputs
        values = state.norm(state.pointwise(values, "last_conv"), "last_norm").clamp(0, 6)
        return state.linear(values.mean((2, 3)), "head")

    return forward


@MODES
@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_mobilenetv2(shortcut, training):
    arguments, shape = {"shortcut": shortcut}, (2, 16, 24)
    compare("mobilenetv2", arguments, shape, mobilenetv2(shortcut), training=training, scale=9.0)


def layer_norm(state, values, name):
    return functional.layer_norm(
        values, values.shape[-1:], state.get(f"{name}.weight"), state.get(f"{name}.bias"), eps=1e-6
    )


def attention(state, values, name, heads):
    queries, keys, contents = (
        values @ weight.T + bias
        for weight, bias in zip(
            state.get(f"{name}.in_proj_weight").chunk(3),
            state.get(f"{name}.in_proj_bias").chunk(3),
            strict=True,
        )
    )
    width = values.shape[-1] // heads
    seen = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = queries[..., own] @ keys[..., own].transpose(1, 2) / width**0.5
        seen.append(scores.softmax(-1) @ contents[..., own])
    return state.linear(torch.cat(seen, dim=-1), f"{name}.out_proj")


def vit(state, inputs):
    kernel, patches = state.get("conv_proj.weight"), []
    for row in range(0, inputs.shape[2], 4):
        for column in range(0, inputs.shape[3], 4):
            pixels = inputs[:, :, row : row + 4, column : column + 4]
            patches.append(torch.einsum("bchw,ochw->bo", pixels, kernel) + state.get("conv_proj.bias"))
    token = state.get("class_token")[0].expand(len(inputs), -1)
    values = torch.stack([token, *patches], dim=1) + state.get("encoder.pos_embedding")
    for index in range(2):
        block = f"encoder.layers.encoder_layer_{index}"
        seen = layer_norm(state, values, f"{block}.ln_1")
        values = values + attention(state, seen, f"{block}.self_attention", heads=3)
        seen = layer_norm(state, values, f"{block}.ln_2")
        hidden = functional.gelu(state.linear(seen, f"{block}.mlp.0"))
        assert hidden.shape[-1] == 40
        values = values + state.linear(hidden, f"{block}.mlp.3")
    return state.linear(layer_norm(state, values, "encoder.ln")[:, 0], "heads.head")


@MODES
def test_vit(training):
    arguments = {"patch": 4, "layers": 2, "heads": 3, "width": 24, "mlp": 40}
    compare("vit", arguments, (3, 12, 12), vit, training=training)
