"""Sharing out work to threads."""

from __future__ import annotations

import threading

import pytest

from nvnmd.threads import share_out, threads


@pytest.fixture(params=["1", "3"])
def count(request, monkeypatch) -> int:
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    return int(request.param)


def test_every_task_once_and_a_worker_per_thread(count):
    done: list[int] = []
    owners: list[int] = []

    def make_worker():
        owners.append(threading.get_ident())
        return done.append

    share_out(range(100), make_worker)
    assert sorted(done) == list(range(100))
    assert len(owners) <= count
    assert threading.get_ident() in owners


def test_work_runs_at_once(count):
    """As many tasks wait for one another as there are threads: alone, none would end."""
    meeting = threading.Barrier(count, timeout=30)
    share_out(range(count), lambda: lambda _: meeting.wait() and None)


def test_an_error_is_the_caller_s(count):
    def fail(task: int) -> None:
        if task == 7:
            raise KeyError(task)

    with pytest.raises(KeyError, match="7"):
        share_out(range(20), lambda: fail)
    share_out(range(20), lambda: lambda _: None)


def test_no_tasks():
    share_out([], lambda: pytest.fail)


def test_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert threads() >= 1
