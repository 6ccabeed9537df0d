"""The ``oracle`` command: the one layer that sees all the others."""
