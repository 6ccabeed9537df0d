"""What runs a session's tasks: here, on Ray Tune's workers, or not at all (replayed)."""
