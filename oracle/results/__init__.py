"""A search's results: each part computed once, when it is asked for."""

from oracle.results.results import Results, load, load_search, recorded_spec, spec_to_build

__all__ = ["Results", "load", "load_search", "recorded_spec", "spec_to_build"]
