"""The layers of a network and which units of which one feed which other, followed with torch.fx."""

from trials.pruning.tracing.follow import follow
from trials.pruning.tracing.unit_flow import Edge, Graph, Site, cover, depthwise

__all__ = ["Edge", "Graph", "Site", "cover", "depthwise", "follow"]
