"""Lookahead pruning: the weights that matter least to a layer together with its neighbours go."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.pruning import Scope, Scores, TrainedNetwork, check_scope
from trials.pruning.tracing import Edge, Graph, cover, follow
from trials.registry import listed


def lap(trained: TrainedNetwork, *, scope: Scope = "layer") -> Scores:
    """LAP scores: how much the product of a layer's weight with its neighbours' changes when a weight goes.

    Park et al. 2020 (arXiv 2002.04809, section 2.2, with the BatchNorm rule of section 2.3). For the weight w
    from unit j to unit k:

        score(w) = w² · ‖W_prev[j, :]‖² · ‖W_next[:, k]‖²,

    the squared Frobenius norm of the change of W_next·W·W_prev. A neighbour that is missing counts as 1. A
    BatchNorm on the way multiplies the neighbour's term by a² = γ² / (variance + ε) of the unit's channel,
    with the running variance. All in float64.

    What the paper leaves open follows from one reading: W_prev is the map to the layer's inputs from all
    that the feeding layers read, side by side, and W_next the map from its outputs to all that the reading
    layers make, one below the other. Activations, pooling and means over places count as 1, as in the
    paper; a factor c counts as c². Hence:

    - Several layers that feed a unit (sums: residual connections), or that read it (fan-out, skip
      connections), add their terms, as in the authors' code. Sums are followed through, to every layer that
      reaches the unit without another in between. Ways that join again count each for itself.
    - Concatenated units have each their own feeder. Padded channels have none.
    - A convolution's row or column is summed over its kernel. Behind a flattening, a channel is read by the
      columns of all its places, and each of these columns is fed by its channel.
    - With groups, each unit has only its group's neighbours: a depthwise convolution's weight has one row
      before it and one column behind it, and is itself a row and a column of its taps to its neighbours.
    - The network's input and output are identities, missing neighbours: 1, times a² of a BatchNorm on the
      way. So are units that depend on no layer, such as constants. A unit that nothing reads scores 0.
    - LayerNorm, GroupNorm and InstanceNorm, whose statistics are each input's own, count as γ².
    - Attention (nn.MultiheadAttention) only mixes places: unit i of the values is read by column i of the
      output projection. Queries and keys are multiplied with each other: the next map of the query's unit i
      is row i of the keys' projection, and the reverse.
    - A weight that is used several times, or that layers share, adds its scores.

    Args:
        trained: The network; torch.fx must be able to trace it.
        scope: ``"layer"``, the paper's and its code's way: the same share of each tensor goes. ``"global"``:
            compared over the whole network, each tensor's scores divided by their Euclidean norm first, the
            normalised form of the authors' global pruning, for raw scores of different layers have different
            units.

    Raises:
        InvalidInput: The network can't be followed (see :func:`trials.pruning.tracing.follow`), or another
            scope.
    """
    check_scope(scope)
    graph = follow(trained.module, next(trained.batches(1, 1))[0])
    unused = set(trained.masks) - {site.weight for site in graph.sites}
    if unused:
        raise InvalidInput(
            f"lap can't score {listed(sorted(unused))}: the forward pass doesn't use it; name it in keep"
        )
    values = lookahead(trained.module, graph, trained.weights)
    if scope == "global":
        values = {name: _normalised(each) for name, each in values.items()}
    return Scores(values, scope=scope)


def lookahead(module: nn.Module, graph: Graph, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores of :func:`lap`, not normalised, of the named weights."""
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    squares = [site.squares(parameters[site.weight]) for site in graph.sites]
    scores = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for index, site in enumerate(graph.sites):
        if site.weight not in scores:
            continue
        read = _before(module, graph, squares, index)
        made = _behind(module, graph, squares, index)
        part = weights[site.weight][site.rows].double().square()
        around = site.outer(made, read)
        scores[site.weight][site.rows] += part * around.view(*around.shape, *[1] * (part.dim() - 2))
    return scores


def _before(module: nn.Module, graph: Graph, squares: list[Tensor], index: int) -> Tensor:
    """‖W_prev[j, :]‖² of each unit j that a site reads, [in]."""
    site, edges = graph.sites[index], graph.into(index)
    total = torch.zeros(site.fan_in, dtype=torch.float64)
    for edge in edges:
        rows = torch.ones_like(total)
        if edge.source is not None:
            rows = squares[edge.source].sum(1)[edge.units.clamp(min=0)]
        total += torch.where(edge.arriving, rows * _factors(module, edge), 0.0)
    return torch.where(cover(edges, site.fan_in), total, 1.0)


def _behind(module: nn.Module, graph: Graph, squares: list[Tensor], index: int) -> Tensor:
    """‖W_next[:, k]‖² of each unit k that a site makes, [out]."""
    site = graph.sites[index]
    total = torch.zeros(site.fan_out, dtype=torch.float64)
    for edge in graph.out_of(index):
        columns = torch.ones(len(edge.units), dtype=torch.float64)
        if edge.target is not None:
            columns = graph.sites[edge.target].columns(squares[edge.target])
        terms = columns * _factors(module, edge)
        total.index_add_(0, edge.units[edge.arriving], terms[edge.arriving])
    return total if site.partner is None else total + squares[site.partner].sum(1)


def _factors(module: nn.Module, edge: Edge) -> Tensor:
    """Factors by which the way to each of the target's units multiplies its term."""
    factors = torch.full((len(edge.units),), edge.gain, dtype=torch.float64)
    for name, channels in edge.norms:
        factors *= _squared_scale(module.get_submodule(name), channels.clamp(min=0))
    return factors


def _squared_scale(norm: nn.Module, channels: Tensor) -> Tensor:
    scale = torch.ones(len(channels), dtype=torch.float64)
    if isinstance(norm.weight, Tensor):
        scale = norm.weight.detach().double().flatten()[channels].square()
    variance, eps = (getattr(norm, name, None) for name in ("running_var", "eps"))
    return scale if variance is None else scale / (variance.double()[channels] + eps)


def _normalised(scores: Tensor) -> Tensor:
    length = scores.norm()
    return scores / length if length > 0 else scores
