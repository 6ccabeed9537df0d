"""Training loops of one's own, to copy from: each file has a network, a loop, and what of a spec goes with
them.

Each is small enough to be searched in seconds; what it trains is drawn at random, but for the digits.
"""
