"""What an operation does to the units that its input carries, for the operations that graph.py can follow."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from torch import nn


class Kind(Enum):
    """What becomes of the units."""

    SAME = auto()
    """Each entry depends on its own place alone: activations, dropout."""
    SCALE = auto()
    """A product with, or a quotient by, a number."""
    SHAPE = auto()
    """Entries are moved, left out or repeated, but not mixed: applied to the units as it is."""
    SPATIAL = auto()
    """Places of one channel are mixed: pooling, upsampling, padding with the image's own values."""
    REDUCE = auto()
    """A mean, sum or maximum over some dimensions."""
    ADD = auto()
    """A sum or difference."""
    CAT = auto()
    """Tensors side by side."""
    PAD = auto()
    """Constants around."""
    NORM = auto()
    """A normalisation with a scale per unit."""
    LAYER = auto()
    """A linear layer or a convolution."""
    ATTENTION = auto()
    """torch.nn.MultiheadAttention."""


_ACTIVATIONS = """relu relu6 leaky_relu prelu elu selu celu gelu silu mish tanh hardswish softsign
    softshrink hardshrink tanhshrink"""
_WITHOUT_ZERO = """sigmoid hardsigmoid softplus logsigmoid log_sigmoid softmax log_softmax hardtanh clamp clip
    alpha_dropout feature_alpha_dropout"""
_UNTOUCHED = "dropout dropout1d dropout2d dropout3d contiguous clone detach float double half to"
_NAMES = {
    Kind.SAME: f"{_ACTIVATIONS} {_WITHOUT_ZERO} {_UNTOUCHED}",
    Kind.SCALE: "mul div multiply divide true_divide truediv neg",
    Kind.SHAPE: """flatten unflatten view reshape permute transpose swapaxes movedim squeeze unsqueeze getitem
        chunk split unbind narrow expand flip roll t""",
    Kind.SPATIAL: """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        interpolate""",
    Kind.REDUCE: "mean sum amax",
    Kind.ADD: "add sub subtract",
    Kind.CAT: "cat concat concatenate",
    Kind.PAD: "pad",
}
_FUNCTIONS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_LOSES_ZERO = frozenset(_WITHOUT_ZERO.split())

_MODULES_WITHOUT_ZERO = (
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.Softplus,
    nn.LogSigmoid,
    nn.Softmax,
    nn.LogSoftmax,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_MODULES: dict[Kind, tuple[type[nn.Module], ...]] = {
    Kind.SAME: (
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.PReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Tanh,
        nn.Hardtanh,
        nn.Hardswish,
        nn.Softsign,
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        nn.Identity,
        *_MODULES_WITHOUT_ZERO,
    ),
    Kind.SHAPE: (nn.Flatten, nn.Unflatten),
    Kind.SPATIAL: (
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.MaxPool3d,
        nn.AvgPool1d,
        nn.AvgPool2d,
        nn.AvgPool3d,
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool3d,
        nn.AdaptiveMaxPool1d,
        nn.AdaptiveMaxPool2d,
        nn.AdaptiveMaxPool3d,
        nn.Upsample,
        nn.ReflectionPad1d,
        nn.ReflectionPad2d,
        nn.ReplicationPad1d,
        nn.ReplicationPad2d,
    ),
    Kind.PAD: (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),  # the ZeroPads among them
    Kind.NORM: (
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.InstanceNorm1d,
        nn.InstanceNorm2d,
        nn.InstanceNorm3d,
        nn.GroupNorm,
        nn.LayerNorm,
    ),
    Kind.LAYER: (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    ),
    Kind.ATTENTION: (nn.MultiheadAttention,),
}


def kind_of_module(module: nn.Module) -> Kind | None:
    """What a module does, None if that isn't known."""
    return next((kind for kind, types in _MODULES.items() if isinstance(module, types)), None)


def kind_of_function(function: Callable[..., object] | str) -> Kind | None:
    """What a function, or a tensor's method by its name, does; None if that isn't known."""
    if isinstance(function, str):
        return _FUNCTIONS.get(function.removesuffix("_"))
    package = (getattr(function, "__module__", None) or "torch").partition(".")[0]
    ours = package in ("torch", "_operator", "builtins")
    return _FUNCTIONS.get(getattr(function, "__name__", "").removesuffix("_")) if ours else None


def keeps_zero(operation: nn.Module | Callable[..., object] | str) -> bool:
    """Whether an operation of kind SAME makes 0 of 0."""
    if isinstance(operation, nn.Module):
        low, high = getattr(operation, "min_val", 0), getattr(operation, "max_val", 0)  # nn.Hardtanh
        return not isinstance(operation, _MODULES_WITHOUT_ZERO) and low <= 0 <= high
    name = operation if isinstance(operation, str) else getattr(operation, "__name__", "")
    return name.removesuffix("_") not in _LOSES_ZERO
