"""What a worker needs, for Ray to import into processes that may become one; not into the task queue's."""

import os

if "ORACLE_TASK_QUEUE" not in os.environ:
    import oracle.drivers.workers  # noqa: F401
    import trials.networks
    import trials.runner  # noqa: F401
