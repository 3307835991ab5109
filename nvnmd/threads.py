"""Work shared out to threads; compiled loops let go of the interpreter and run at once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Task = TypeVar("Task")


@cache
def installed() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def threads() -> int:
    """Threads to use: `OMP_NUM_THREADS` where it is set, else the cores this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else len(os.sched_getaffinity(0))


def share_out(tasks: Iterable[Task], make_worker: Callable[[], Callable[[Task], None]]) -> None:
    """Do all tasks, each thread with a worker of its own, which keeps its memory between tasks.

    Parameters
    ----------
    tasks : iterable
        What a worker takes, one after another.
    make_worker : callable
        Called once per thread that has something to do.
    """
    tasks = list(tasks)
    waiting = iter(tasks)

    def work() -> None:
        worker = make_worker()
        # taking the next one is one step of the interpreter, which one thread does at a time
        for task in waiting:
            worker(task)

    others = min(threads(), len(tasks)) - 1
    if others < 1:
        work()
        return
    helpers = [_pool(others).submit(work) for _ in range(others)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.exception()
    for helper in helpers:
        helper.result()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that stay: starting them takes as long as a hundred atoms."""
    return ThreadPoolExecutor(workers, thread_name_prefix="nvnmd")


# a forked process has none of its parent's threads
os.register_at_fork(after_in_child=_pool.cache_clear)
