"""The solvers behind the public functions: arrays in, arrays out, arguments trusted."""
