import torch
from torch import nn
from torch.nn import functional

from trials.pruning.tracing.follow import keeps_zero, leave, passes_of

MODULES = [
    *[nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU()],
    *[nn.SiLU(), nn.Mish(), nn.Tanh(), nn.Hardtanh(), nn.Hardtanh(0.5, 2), nn.Hardswish(), nn.Softsign()],
    *[nn.Sigmoid(), nn.Hardsigmoid(), nn.Softplus(), nn.LogSigmoid(), nn.Softmax(1), nn.LogSoftmax(1)],
    *[nn.Dropout(), nn.Dropout2d(), nn.Identity(), nn.AlphaDropout(), nn.FeatureAlphaDropout()],
]
FUNCTIONS = [
    *[functional.relu, torch.relu, functional.relu6, functional.leaky_relu, functional.elu, functional.selu],
    *[functional.celu, functional.gelu, functional.silu, functional.mish, torch.tanh, functional.tanh],
    *[functional.hardswish, functional.softsign, functional.softshrink, functional.hardshrink],
    *[functional.tanhshrink, torch.sigmoid, functional.sigmoid, functional.hardsigmoid, functional.softplus],
    *[functional.logsigmoid, functional.dropout, functional.alpha_dropout, torch.relu_, torch.sigmoid_],
]


def test_whether_zero_stays_zero_in_training():
    """Said to stay only where it does: the reverse costs a layer its pruning, not the network its outputs."""
    zeros = torch.zeros(2, 3, 4, 4)
    for operation in (*MODULES, *FUNCTIONS):
        assert passes_of(operation) is leave, operation
        torch.manual_seed(0)
        dropping = operation in (functional.dropout, functional.alpha_dropout)
        found = operation(zeros, training=True) if dropping else operation(zeros)
        assert keeps_zero(operation) == (not found.any()), operation


def test_methods():
    for name in ("relu", "relu_", "sigmoid", "sigmoid_", "tanh", "softmax"):
        assert passes_of(name) is leave
        arguments = [1] if name == "softmax" else []
        assert keeps_zero(name) == (not getattr(torch.zeros(2, 3), name)(*arguments).any()), name


def relu(inputs):
    return inputs + 1


def test_operations_that_are_not_known():
    for operation in (relu, torch.cumsum, "cumsum", len, nn.Linear, nn.LSTM(1, 1), nn.Sequential()):
        assert passes_of(operation) is None
