"""Drivers: they run a session's tasks, in this process or on Ray Tune's workers."""
