"""What runs a session's tasks: here, or on Ray Tune's workers."""
