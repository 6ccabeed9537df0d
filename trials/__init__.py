"""The trials of a search: networks, data sets, pruning, schedules, and the training of a pack.

Needs torch alone: neither ray nor optuna nor a database is imported below here.
"""
