"""Checks for parts of a user's own: a ledger's database, a driver, a policy.

Each check is a function that raises AssertionError, so that any test runner calls it.
"""
