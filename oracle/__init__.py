"""The Oracle: the best peak learning rate at every cycle of a network that is pruned iteratively."""
