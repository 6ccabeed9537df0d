"""The desk where workers take their tasks: an actor whose process imports neither torch nor Tune."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.tasks import Task


class TaskQueue:
    """Where workers take tasks, first come first served: an actor of Ray's."""

    def __init__(self) -> None:
        self._tasks: asyncio.Queue[tuple[int, str, Task] | None] = asyncio.Queue()
        self._taken: dict[str, list[int]] = {}
        self._last: dict[str, float] = {}
        self._dead: set[str] = set()

    async def put(self, items: list[tuple[int, str, Task]]) -> None:
        """Lays out tasks, each with its number and its search's name."""
        for item in items:
            self._tasks.put_nowait(item)

    async def take(self, worker: str) -> tuple[int, str, Task] | None:
        """Waits for a task; None once the desk is closed."""
        item = await self._tasks.get()
        if item is None or worker in self._dead:
            self._tasks.put_nowait(item)
            return None
        self._taken.setdefault(worker, []).append(item[0])
        self._last[worker] = time.monotonic()
        return item

    async def close(self) -> None:
        """Sends every worker home."""
        self._tasks.put_nowait(None)

    async def lost(self, worker: str) -> tuple[list[int], float]:
        """Numbers of all the tasks that a dead worker ever took, and the seconds since the last of them.

        The one that it waits for goes to another.
        """
        self._dead.add(worker)
        since = time.monotonic() - self._last.get(worker, time.monotonic())
        return self._taken.pop(worker, []), since
