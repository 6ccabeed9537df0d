"""The parts of :mod:`tests.benchmarks.gpu_first`."""
