"""The exceptions of this project: one root, so that one ``except`` catches them all."""


class SiloOracleError(Exception):
    """Root of every exception that this project raises on purpose. Its message is one line."""


class InvalidInput(SiloOracleError, ValueError):
    """A value of the user's that can't be used: the message says what was wrong, given, and would do."""
