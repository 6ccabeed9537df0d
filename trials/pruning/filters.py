"""Filter pruning: whole filters of convolutions go, with all that only they feed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from silo.errors import InvalidInput
from trials.pruning import Masks, TrainedNetwork
from trials.pruning.tracing import Edge, Graph, Site, depthwise, follow

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def l1_filter(trained: TrainedNetwork) -> Masks:
    """Removes the filters of the smallest Σ|w| from each convolution, the same share of each.

    Li et al. 2017 (arXiv 1608.08710, section 3.1). Of a convolution's filters that are left,
    round(rate × left) go, the first ones among equals, but never the last. With a filter go its bias, the
    scale and shift of the BatchNorm channels that it feeds, and the weights of the next layers that read it,
    so that the masked network computes, and in training goes on computing, what the network without these
    filters does. All layers are pruned at once, each filter's sum taken before the others go ("independent"
    in section 3.3).

    The share is one of filters: a layer whose inputs go as well loses about 1 − (1 − rate)² of its weights.

    A convolution takes part if its filters can be cut out without touching another layer's: its units are
    added to nothing, and pass only BatchNorm and what passes each channel by itself on their way. In a
    residual network these are the inner convolutions of the blocks (the first of two, the first two of
    three), as Li et al. prune them; in a plain one, all. Concatenated units (DenseNet) take part, for each
    has its own place in the layers that read it. The units of a depthwise convolution go with those that it
    reads and have no sum of their own. Left alone are linear layers, transposed and grouped convolutions,
    layers that share weights, what feeds the network's output, and what ``keep`` names. A kept layer that
    reads pruned filters keeps its weights, which read zeros then.

    Raises:
        InvalidInput: The network can't be followed (see :func:`trials.pruning.tracing.follow`), or has no
            convolution that can take part.
    """
    graph = follow(trained.module, next(trained.batches(1, 1))[0])
    cutter = _Cutter(trained, graph)
    chosen = [index for index in range(len(graph.sites)) if cutter.takes_part(index)]
    if not chosen:
        raise InvalidInput(
            "l1_filter finds no convolution in this network that may lose filters: the outputs of each are "
            "added to something, feed the network's output, or are kept"
        )
    gone = {index: _smallest(graph.sites[index], trained) for index in chosen}
    for index in chosen:
        cutter.cut(index, gone[index])
    return Masks(cutter.masks)


def _smallest(site: Site, trained: TrainedNetwork) -> Tensor:
    """True at the filters that go, [out]."""
    sums = trained.weights[site.weight].double().abs().flatten(1).sum(1)
    left = trained.masks[site.weight].flatten(1).any(1)
    if sums[left].isnan().any():
        raise InvalidInput(
            f"filters of {site.weight!r} are NaN and can't be ranked: did the training diverge?"
        )
    count = round(trained.rate * int(left.count_nonzero()))
    count = max(0, min(count, int(left.count_nonzero()) - 1))
    order = torch.where(left, sums, torch.inf).argsort(stable=True)
    gone = torch.zeros_like(left)
    gone[order[left[order]][:count]] = True
    return gone


class _Cutter:
    """Masks that lose whole units, with all that only these feed."""

    def __init__(self, trained: TrainedNetwork, graph: Graph) -> None:
        self.graph, self.prunable = graph, trained.masks
        self.modules = dict(trained.module.named_modules())
        self.names = {id(each): name for name, each in trained.module.named_parameters()}
        self.shapes = {name: each.shape for name, each in trained.module.named_parameters()}
        self.masks = {name: mask.clone() for name, mask in {**trained.masks, **trained.extra_masks}.items()}

    def takes_part(self, index: int) -> bool:
        """Whether a site's units are chosen by their own sums."""
        site = self.graph.sites[index]
        return self._ordinary(site) and site.groups == 1 and self._separable(index)

    def cut(self, index: int, gone: Tensor) -> None:
        """Masks a site's units [out], their biases, and the weights that read them."""
        site = self.graph.sites[index]
        layer = self.modules[site.layer]
        for parameter in (layer.weight, layer.bias):
            self._mask(parameter, gone)
        for edge in self.graph.out_of(index):
            unread = edge.reads(gone)
            for name, channels in edge.norms:
                norm = self.modules[name]
                dead = torch.zeros(norm.num_features, dtype=torch.bool)
                dead[channels[unread]] = True
                for parameter in (norm.weight, norm.bias):
                    self._mask(parameter, dead)
            assert edge.target is not None  # a site that feeds the output takes no part
            reader = self.graph.sites[edge.target]
            if depthwise(reader):
                self.cut(edge.target, unread.repeat_interleave(reader.fan_out // reader.fan_in))
            elif reader.weight in self.masks:
                self._mask_columns(reader, unread)

    def _ordinary(self, site: Site) -> bool:
        """A convolution whose filters no other place uses, and that is to be pruned."""
        layer = self.modules[site.layer]
        own = [self.names[id(each)] for each in layer.parameters()]
        alone = all(self.graph.uses[name] == 1 for name in own)
        return isinstance(layer, _CONVOLUTIONS) and alone and site.weight in self.prunable

    def _separable(self, index: int) -> bool:
        """Whether units can be cut out without touching any other layer's."""
        edges = self.graph.out_of(index)
        return bool(edges) and all(self._passes(edge) for edge in edges)

    def _passes(self, edge: Edge) -> bool:
        if edge.target is None or edge.summed or not all(self._own_norms(edge)):
            return False
        reader = self.graph.sites[edge.target]
        if depthwise(reader):
            return self._ordinary(reader) and self._separable(edge.target)
        return reader.groups == 1 and (reader.weight in self.prunable or edge.keeps_zero)

    def _own_norms(self, edge: Edge) -> Iterator[bool]:
        for name, _ in edge.norms:
            norm = self.modules[name]
            used = [self.graph.uses[self.names[id(each)]] for each in norm.parameters()]
            yield isinstance(norm, _BATCH_NORMS) and all(count == 1 for count in used)

    def _mask(self, parameter: Tensor | None, gone: Tensor) -> None:
        if parameter is not None:
            self._full(self.names[id(parameter)])[gone] = False

    def _mask_columns(self, site: Site, gone: Tensor) -> None:
        part = self._full(site.weight)[site.rows]
        (part if site.transposed else part.transpose(0, 1))[gone] = False

    def _full(self, name: str) -> Tensor:
        if name not in self.masks:
            self.masks[name] = torch.ones(self.shapes[name], dtype=torch.bool)
        return self.masks[name]
