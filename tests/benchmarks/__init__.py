"""Benchmarks: each a command that prints a table with ratios from one run. They assert nothing."""
