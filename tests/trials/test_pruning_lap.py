import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from silo.errors import InvalidInput
from tests.trials.pruning_toys import (
    Attention,
    Dense,
    Plain,
    Residual,
    Separable,
    image_data,
    linears,
    pruned,
    toy,
    trained_network,
)
from tests.trials.toys import toy_data
from trials.pruning.lap import lap
from trials.pruning.masks import full_masks, prunable_names

W1, W2, W3 = [[1, 2], [3, 4], [0, 1]], [[1, 0, 2], [2, 1, 1]], [[1, 3]]


def lists(scores):
    return [values.tolist() for values in scores.values.values()]


def test_golden_scores():
    data = toy_data(shape=(2,))
    plain = lists(lap(trained_network(linears(W1, W2, W3), data=data)))
    assert plain == [[[5, 20], [9, 16], [0, 5]], [[5, 0, 4], [180, 225, 9]], [[5, 54]]]
    normed = linears(W1, W2, W3, norms=([1, 2, 3], [0.5, 1]))
    assert lists(lap(trained_network(normed, data=data))) == [
        [[5, 20], [36, 64], [0, 45]],
        [[1.25, 0, 9], [180, 900, 81]],
        [[1.25, 54]],
    ]


# A slow reference: the squared Frobenius norm of the change of N·W·P, weight by weight. P stacks what feeds
# the layer side by side, N what reads it one below the other; a kernel's taps are taken one at a time.


def frobenius(weight, *, before=None, behind=None):
    """Scores of a weight [out, in, *taps]; before [in, …], behind [out, …], None for a missing one."""
    before = torch.eye(weight.shape[1]) if before is None else before
    behind = torch.eye(weight.shape[0]) if behind is None else behind
    scores = torch.zeros_like(weight)
    for made in range(weight.shape[0]):
        for read in range(weight.shape[1]):
            for tap in range(weight[0, 0].numel()):
                change = torch.zeros(weight.shape[:2])
                change[made, read] = weight[made, read].reshape(-1)[tap]
                product = behind.T @ change @ before
                scores[made, read].view(-1)[tap] = product.square().sum()
    return scores


def a(norm):
    return (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()


def rows(layer, norm=None):
    """[out, in·taps], times a of what follows."""
    weight = layer.weight.detach().flatten(1)
    return weight if norm is None else a(norm)[:, None] * weight


def columns(layer, norm=None):
    """[in, out·taps], times a of what goes before."""
    weight = layer.weight.detach().transpose(0, 1).flatten(1)
    return weight if norm is None else a(norm)[:, None] * weight


def placed(matrix, begin, size):
    """The rows within more rows of zeros."""
    wide = torch.zeros(size, matrix.shape[1])
    wide[begin : begin + len(matrix)] = matrix
    return wide


@pytest.fixture(autouse=True)
def in_double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def check(module, expected):
    scores = lap(trained_network(module, data=image_data())).values
    weights = {f"{name}.weight": module.get_submodule(name).weight.detach() for name in expected}
    assert set(scores) == set(weights)
    for name, (before, behind) in expected.items():
        reference = frobenius(weights[f"{name}.weight"], before=before, behind=behind)
        torch.testing.assert_close(scores[f"{name}.weight"], reference, rtol=1e-11, atol=0, msg=name)


def test_pools_flattening_and_biases():
    m = toy(Plain)
    flat = rows(m.conv2, m.norm2).repeat_interleave(4, dim=0)
    read = a(m.norm2)[:, None] * columns(m.hidden).reshape(5, -1)
    check(
        m,
        {
            "conv1": (None, columns(m.conv2, m.norm1)),
            "conv2": (rows(m.conv1, m.norm1), read),
            "hidden": (flat, columns(m.head)),
            "head": (rows(m.hidden), None),
        },
    )


def test_residual_sums_and_padding():
    m = toy(Residual)
    stem, two, four = rows(m.stem, m.norm), rows(m.conv2, m.norm2), rows(m.conv4, m.norm4)
    padded = [placed(each, 2, 8) for each in (stem, two)]
    later = [columns(m.conv3), columns(m.head)[2:6]]
    check(
        m,
        {
            "stem": (None, a(m.norm)[:, None] * torch.cat([columns(m.conv1), *later], 1)),
            "conv1": (stem, columns(m.conv2, m.norm1)),
            "conv2": (rows(m.conv1, m.norm1), a(m.norm2)[:, None] * torch.cat(later, 1)),
            "conv3": (torch.cat([stem, two], 1), columns(m.conv4, m.norm3)),
            "conv4": (rows(m.conv3, m.norm3), columns(m.head, m.norm4)),
            "head": (torch.cat([four, *padded], 1), None),
        },
    )


def test_concatenation_with_the_norms_behind_it():
    m = toy(Dense)
    a1, a2, a3 = (a(each)[:, None] for each in (m.norm1, m.norm2, m.norm3))
    stem, one, two = rows(m.stem), rows(m.conv1), rows(m.conv2)
    read1, read2, read3 = a1 * columns(m.conv1), a2 * columns(m.conv2), a3 * columns(m.head)
    width = stem.shape[1] + one.shape[1] + two.shape[1]
    all_fed = torch.zeros(9, width)
    all_fed[:4, : stem.shape[1]] = stem
    all_fed[4:7, stem.shape[1] : -two.shape[1]] = one
    all_fed[7:, -two.shape[1] :] = two
    check(
        m,
        {
            "stem": (None, torch.cat([read1, read2[:4], read3[:4]], 1)),
            "conv1": (a1 * stem, torch.cat([read2[4:], read3[4:7]], 1)),
            "conv2": (a2 * all_fed[:7], read3[7:]),
            "head": (a3 * all_fed, None),
        },
    )


def test_depthwise_and_grouped_convolutions():
    """Each group is a layer of its own: the scores of one group are those of its own small network."""
    m = toy(Separable)
    scores = lap(trained_network(m, data=image_data())).values
    made = rows(m.depthwise, m.norm2)
    for unit in range(4):
        two = slice(2 * unit, 2 * unit + 2)
        reads = m.depthwise.weight.detach()[two]
        expected = frobenius(
            m.expand.weight.detach()[unit : unit + 1],
            behind=a(m.norm1)[unit] * reads.reshape(1, -1),
        )
        torch.testing.assert_close(scores["expand.weight"][unit : unit + 1], expected)
        expected = frobenius(
            reads,
            before=rows(m.expand, m.norm1)[unit : unit + 1],
            behind=columns(m.project, m.norm2)[two],
        )
        torch.testing.assert_close(scores["depthwise.weight"][two], expected)
    for group in range(2):
        made_by, read_by = slice(3 * group, 3 * group + 3), slice(2 * group, 2 * group + 2)
        weight = m.grouped.weight.detach()[read_by]
        expected = frobenius(
            m.project.weight.detach()[made_by],
            before=made,
            behind=a(m.norm3)[made_by, None] * weight.transpose(0, 1).flatten(1),
        )
        torch.testing.assert_close(scores["project.weight"][made_by], expected)
        expected = frobenius(
            weight, before=rows(m.project, m.norm3)[made_by], behind=columns(m.head)[read_by]
        )
        torch.testing.assert_close(scores["grouped.weight"][read_by], expected)
    expected = frobenius(m.head.weight.detach(), before=rows(m.grouped))
    torch.testing.assert_close(scores["head.weight"], expected)


def test_attention():
    m = toy(Attention)
    scores = lap(trained_network(m, data=image_data())).values
    q, k, v = m.attention.in_proj_weight.detach().split(6)
    out, g1, g2, g3 = (
        m.attention.out_proj,
        *[each.weight.detach()[:, None] for each in (m.norm1, m.norm2, m.norm3)],
    )
    patches = rows(m.patches)
    stream = torch.cat([rows(out), rows(m.narrow)], 1)  # of the class token, which no patch reaches directly
    read = torch.cat([g2 * columns(m.wide), g3 * columns(m.head)], 1)
    expected = {
        "patches.weight": frobenius(
            m.patches.weight.detach(),
            behind=torch.cat([g1 * torch.cat([q.T, k.T, v.T], 1), g2 * columns(m.wide)], 1),
        ),
        "attention.in_proj_weight": torch.cat(
            [
                frobenius(q, before=g1 * patches, behind=k),
                frobenius(k, before=g1 * patches, behind=q),
                frobenius(v, before=g1 * patches, behind=columns(out)),
            ]
        ),
        "attention.out_proj.weight": frobenius(out.weight.detach(), before=v, behind=read),
        "wide.weight": frobenius(
            m.wide.weight.detach(),
            before=g2 * torch.cat([patches, rows(out)], 1),
            behind=columns(m.narrow),
        ),
        "narrow.weight": frobenius(
            m.narrow.weight.detach(), before=rows(m.wide), behind=g3 * columns(m.head)
        ),
        "head.weight": frobenius(m.head.weight.detach(), before=g3 * stream),
    }
    assert scores.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(scores[name], values, rtol=1e-11, atol=0, msg=name)


class Odd(nn.Module):
    """A transposed convolution in groups, a layer used twice, a factor, a way that joins again, a BatchNorm
    without scale, a constant channel, outputs that nothing reads, and BatchNorm at both ends."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.BatchNorm2d(3), nn.BatchNorm1d(4)
        self.conv = nn.Conv2d(3, 4, 1)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.twice = nn.Conv2d(5, 5, 1)
        self.plain = nn.BatchNorm2d(5, affine=False)
        self.constant = nn.Parameter(torch.ones(1, 1, 1, 1))
        self.head = nn.Linear(6, 4)

    def forward(self, inputs):
        values = self.up(self.conv(self.first(inputs)))[:, 1:]
        values = 0.5 * self.twice(values)
        values = self.plain(self.twice(values.neg() / 2))
        values = values.relu() + values
        wide = torch.cat([values, self.constant.expand(len_of(values), 1, 16, 16)], 1)
        return self.last(self.head(wide.amax((2, 3))))


def len_of(tensor):
    return tensor.size(0)


def test_odd_things():
    m = toy(Odd)
    scores = lap(trained_network(m, data=image_data())).values
    up = m.up.weight.detach()  # [in, out / groups, 2, 2]
    plain = (1 / (m.plain.running_var + m.plain.eps)).sqrt()[:, None]
    twice, conv = m.twice.weight.detach(), a(m.first) * torch.eye(3)
    up_rows = torch.cat([up[:2].transpose(0, 1).flatten(1), up[2:].transpose(0, 1).flatten(1)])
    rejoined = 2**0.5 * plain
    expected = {
        "conv.weight": frobenius(m.conv.weight.detach(), before=conv, behind=up.flatten(1)),
        "twice.weight": frobenius(twice, before=up_rows[1:], behind=columns(m.twice) / 4)
        + frobenius(twice, before=rows(m.twice) / 4, behind=rejoined * columns(m.head)[:5]),
        "head.weight": frobenius(
            m.head.weight.detach(),
            before=torch.block_diag(rejoined * rows(m.twice), torch.ones(1, 1)),
            behind=a(m.last).diag(),
        ),
    }
    for name, values in expected.items():
        torch.testing.assert_close(scores[name], values, rtol=1e-11, atol=0, msg=name)
    for group in range(2):
        own = slice(2 * group, 2 * group + 2)
        behind = torch.cat([torch.zeros(1, 5), columns(m.twice)])[3 * group : 3 * group + 3]
        values = frobenius(up[own].transpose(0, 1), before=rows(m.conv)[own], behind=behind)
        torch.testing.assert_close(scores["up.weight"][own], values.transpose(0, 1))
    assert not scores["up.weight"][:2, 0].any()


@given(st.lists(st.integers(-8, 8), min_size=3, max_size=3), st.integers(0, 2**32))
def test_scaling_a_layer_changes_no_ranking_within_layers(powers, seed):
    torch.manual_seed(seed)
    plain = linears(*[torch.randn(*shape).tolist() for shape in ((5, 6), (4, 5), (3, 4))])
    scaled = linears(
        *[(layer.weight * 2.0**power).tolist() for layer, power in zip(plain[::2], powers, strict=True)]
    )
    data = toy_data()
    for scope in ("layer", "global"):
        one, other = (pruned("lap", each, {"scope": scope}, data=data, rate=0.4) for each in (plain, scaled))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_scopes():
    data = toy_data(shape=(2,))
    module = linears(W1, W2, W3)
    raw = lap(trained_network(module, data=data))
    whole = lap(trained_network(module, data=data), scope="global")
    assert (raw.scope, whole.scope) == ("layer", "global")
    for name, values in whole.values.items():
        torch.testing.assert_close(values, raw.values[name] / raw.values[name].norm())
    assert [int(each.sum()) for each in pruned("lap", module, data=data, rate=0.5).values()] == [3, 3, 2 - 1]
    with pytest.raises(InvalidInput, match="scope is 'global' or 'layer', not 'network'"):
        pruned("lap", module, {"scope": "network"}, data=data)


def test_a_network_of_zeros_is_ranked_by_position():
    module = linears([[0, 0], [0, 0]], [[0, 0]])
    for scope in ("layer", "global"):
        masks = pruned("lap", module, {"scope": scope}, data=toy_data(shape=(2,)), rate=0.5)
        assert masks["0.weight"].tolist()[0] == [False, False]


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.auxiliary = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs):
        return self.auxiliary(inputs) if self.training else self.used(inputs)


def test_an_unused_weight_is_named():
    with pytest.raises(InvalidInput, match=r"lap can't score 'auxiliary\.weight'.*name it in keep"):
        pruned("lap", Unused(), data=toy_data(shape=(2,)))
    module = Unused()
    masks = full_masks(module, prunable_names(module, ["auxiliary.*"]))
    assert list(pruned("lap", module, masks=masks, data=toy_data(shape=(2,)))) == ["used.weight"]
