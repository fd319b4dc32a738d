"""Work that is done by several processes, here or on a Ray cluster, in whatever order it ends.

Rule: what a task gives depends on nothing but the task, so it does not matter who does it, nor how many do. A
process that dies ends the work with an error: a result is never left out in silence (fails closed).
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class CrewError(RuntimeError):
    """The work cannot go on; the text says why."""


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(work: Callable[[Task], Result], tasks: Sequence[Task], processes: int = 0) -> Iterator[Result]:
    """Results by so many processes of this machine; 0: one for each core, 1: this one. Raises CrewError."""
    count = min(processes or cores(), len(tasks))
    if count <= 1:
        yield from map(work, tasks)
        return
    crew = [_Worker(work) for _ in range(count)]
    try:
        left, busy = iter(tasks), list(crew)
        for one in crew:
            one.send(next(left))
        while busy:
            ready = wait([one.pipe for one in busy])
            for one in [each for each in busy if each.pipe in ready]:
                result = _received(one)
                if (task := next(left, None)) is not None:
                    one.send(task)
                else:
                    busy.remove(one)
                yield result
    finally:
        for one in crew:
            one.end()


class _Worker:
    """A process that waits for tasks."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        ways = multiprocessing.get_context("spawn")
        self.pipe: Connection[Any, Any]
        self.pipe, other = ways.Pipe()
        self.process = ways.Process(target=_serve, args=(work, other), daemon=True)
        self.process.start()
        other.close()

    def send(self, task: Any) -> None:
        """Raises CrewError where it has died."""
        try:
            self.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            raise self.died() from None

    def died(self) -> CrewError:
        """Why it is not there any more."""
        self.process.join()
        return CrewError(
            f"a process of the run died (status {self.process.exitcode}): is there too little memory?"
        )

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()
        self.process.close()


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    """One task after the other until nobody asks any more. Ctrl-C is for the one who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            task = pipe.recv()
            try:
                pipe.send((work(task), ""))
            except Exception as error:  # noqa: BLE001  told to the one who asked
                pipe.send((None, f"{type(error).__name__}: {error}"))
    except (EOFError, BrokenPipeError):
        pass


def _received(one: _Worker) -> Any:
    try:
        result, error = one.pipe.recv()
    except (EOFError, ConnectionResetError):
        raise one.died() from None
    if error:
        raise CrewError(f"a cell could not be run: {error}")
    return result


def on_ray(work: Callable[[Task], Result], tasks: Sequence[Task], address: str) -> Iterator[Result]:
    """Results by a Ray cluster: its address, `auto` for the one of this machine, `local` to start one. Its
    nodes need Modu of the same version. Raises CrewError.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise CrewError("a cluster needs Ray: pip install 'moduai[ray]', here and on its nodes") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise CrewError(f"no Ray cluster answers at {address}: {error}") from None
    try:
        distant = ray.remote(num_cpus=1)(work)
        under_way = [distant.remote(task) for task in tasks]
        while under_way:
            ready, under_way = ray.wait(under_way)
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayError as error:
                raise CrewError(f"a cell could not be run: {error}") from None
    finally:
        ray.shutdown()
