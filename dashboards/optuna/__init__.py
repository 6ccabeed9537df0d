"""Optuna's dashboard: the server, and the study that stands for a whole search there."""
