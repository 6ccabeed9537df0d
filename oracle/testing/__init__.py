"""What a user tests a part of their own with: a ledger's database, a driver, a policy.

Each check is a function that raises AssertionError, so that any test runner calls it.
"""
