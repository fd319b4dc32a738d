"""Work over processes: all of it, or an error."""

import importlib
import multiprocessing
import os
import signal

import pytest

from moduai.planner import crew


def test_all_is_done_in_whatever_order():
    assert sorted(crew.here(_square, range(9), 2)) == [one * one for one in range(9)]
    assert list(crew.here(_square, range(3), 1)) == [0, 1, 4]
    assert list(crew.here(_square, [], 2)) == []


def test_a_process_that_dies_ends_the_work_with_a_word():
    with pytest.raises(crew.CrewError, match="died"):
        list(crew.here(_kill, [1, 2, 3], 2))
    with pytest.raises(crew.CrewError, match="ValueError: no"):
        list(crew.here(_fail, [1, 2], 2))
    assert not multiprocessing.active_children()


def test_a_process_that_died_before_its_task_is_told_too():
    worker = crew._Worker(_square)
    try:
        worker.process.kill()
        worker.process.join()
        with pytest.raises(crew.CrewError, match="died"):
            worker.send(bytes(1 << 20))
    finally:
        worker.end()


def test_a_cluster_needs_ray(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", _absent)
    with pytest.raises(crew.CrewError, match=r"moduai\[ray\]"):
        list(crew.on_ray(_square, [1], "auto"))


def test_a_ray_cluster_does_the_same():
    assert sorted(crew.on_ray(_square, range(5), "local")) == [0, 1, 4, 9, 16]


def _square(number):
    return number * number


def _kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(_):
    raise ValueError("no")


def _absent(name):
    raise ImportError(name)
