"""Workers that are handed one thing at a time: threads, processes, or those of a dask cluster.

No more is under way than there are workers, and what comes back is handed on at once: however many
things there are, as many as there are workers are in memory. A worker that dies takes nothing along
but what it worked on, which is given to another one, once.
"""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import threading
from abc import ABC, abstractmethod
from concurrent import futures
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xarray_omezarr import progress
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How often something is begun whose worker dies: twice may be chance, but it looks like the cause.
_ATTEMPTS = 2
_NAMES = ("threads", "processes")


class LostError(Exception):
    """The worker that was on it is gone."""


class Crew(ABC, Generic[Item, Result]):
    """Workers that do one kind of work."""

    here = False
    """Whether they are in this process."""

    @abstractmethod
    def size(self) -> int:
        """Give how many things can be under way at a time."""

    @abstractmethod
    def busy(self) -> int:
        """Give how many are."""

    @abstractmethod
    def start(self, item: Item) -> None:
        """Give one to a worker that is free."""

    @abstractmethod
    def collect(self) -> list[tuple[Item, Result | BaseException]]:
        """Wait until any are done, and give what came of these."""

    @abstractmethod
    def close(self) -> None:
        """Dismiss the workers; what is under way is given up as far as that can be."""


def run(
    crew: Crew[Item, Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result | BaseException]]:
    """Give each thing to a worker, and what came of it as soon as it is there.

    Parameters
    ----------
    crew
        The workers. They are dismissed in the end, and where the generator is closed.
    items
        What is to be done; the next one is asked for when a worker is free.

    Yields
    ------
    item, result
        In the order in which they are done. The result is an exception where the work raised one,
        and a `LostError` where worker after worker died of it.
    """
    try:
        left = iter(items)
        while True:
            while crew.busy() >= max(crew.size(), 1):
                yield from crew.collect()
            try:
                item = next(left)
            except StopIteration:
                break
            crew.start(item)
        while crew.busy():
            yield from crew.collect()
    finally:
        crew.close()


def assemble(
    work: Callable[[Item], Result], scheduler: object, workers: int | None
) -> Crew[Item, Result]:
    """Find the workers that are asked for.

    Parameters
    ----------
    work
        What they do.
    scheduler
        "threads", "processes" or a `distributed.Client`. None is what dask would take: the cluster
        that is active, what its configuration says, or else threads.
    workers
        How many there are to be; by default as many as there are cores, or as the cluster has.

    Raises
    ------
    OmeZarrError
        Where there are no such workers, or the work cannot be sent to them.
    """
    _check_count(workers)
    if scheduler is None:
        scheduler = progress.client() or _NAMES[progress.elsewhere()]
    if scheduler == "threads":
        return _Threads(work, workers or _cores())
    if scheduler == "processes":
        return _Processes(_packed(work), workers or _cores())
    if hasattr(scheduler, "submit") and hasattr(scheduler, "nthreads"):
        return _Cluster(_packed(work), scheduler, workers)
    msg = f"scheduler={scheduler!r}: expected 'threads', 'processes' or a distributed.Client."
    raise OmeZarrError(msg)


def _check_count(workers: object) -> None:
    if workers is None or (type(workers) is int and workers > 0):
        return
    msg = f"workers={workers!r}: expected how many fields are worked on at a time, 1 or more."
    raise OmeZarrError(msg)


def _cores() -> int:
    """Give how many cores this process may use."""
    there = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return len(there(0))


def _packed(work: Callable[..., Any]) -> bytes:
    """Make a function ready to travel, also one without a name, or that a notebook has defined."""
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(work)
    except Exception as error:
        msg = (
            f"The function cannot be sent to other processes: {type(error).__name__}: {error}. It "
            "may refer to nothing like an open file, a lock or a connection: open these inside of "
            "it. scheduler='threads' takes any function."
        )
        raise OmeZarrError(msg) from error
    return packed


@functools.lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Callable[..., Any]:
    work: Callable[..., Any] = pickle.loads(packed)  # noqa: S301 - this process's parent made it
    return work


def _call(packed: bytes, item: Any) -> Any:  # noqa: ANN401 - whatever the work is about
    return _unpacked(packed)(item)


class _Here:
    """Has dask compute where it is called, for as long as anybody is in here.

    A worker is one thread. What it asks dask for would otherwise be run by more, or be sent over a
    cluster whose workers are all busy, pixels and all. dask's setting is one for all threads: the
    first who comes in makes it, and the last who goes takes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._setting: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        import dask

        with self._lock:
            if not self._inside:
                self._setting = dask.config.set(scheduler="synchronous")
                self._setting.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._setting.__exit__(None, None, None)


#: For whoever works in a process that others work in as well.
computing_here = _Here()


# ── threads ──────────────────────────────────────────────────────────────────────────────────────


class _Threads(Crew[Item, Result]):
    here = True

    def __init__(self, work: Callable[[Item], Result], size: int) -> None:
        self._work, self._size = work, size
        self._pool = futures.ThreadPoolExecutor(size, thread_name_prefix="map_fields")
        self._waiting: dict[futures.Future[Result], Item] = {}

    def size(self) -> int:
        return self._size

    def busy(self) -> int:
        return len(self._waiting)

    def start(self, item: Item) -> None:
        self._waiting[self._pool.submit(self._work, item)] = item

    def collect(self) -> list[tuple[Item, Result | BaseException]]:
        done, _ = futures.wait(self._waiting, return_when=futures.FIRST_COMPLETED)
        return [(self._waiting.pop(one), one.exception() or one.result()) for one in done]

    def close(self) -> None:
        # A thread cannot be stopped: what is under way comes to its end.
        self._pool.shutdown(cancel_futures=True)


# ── processes ────────────────────────────────────────────────────────────────────────────────────


class _Lane:
    """One process, and the pipe to it."""

    def __init__(self, packed: bytes) -> None:
        # A copy of this process, as `fork` makes it, would have its locks but not its threads.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, packed))
        self.process.start()
        theirs.close()
        self.ready = False
        self.item: Any = None
        self.attempts = 0

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, packed: bytes) -> None:
    """Work for the process at the other end of the pipe, for as long as there is one."""
    # Ctrl-C reaches all processes of a terminal; the one that is asked decides for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    pipe.send(None)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            result = _call(packed, item)
        except Exception as error:  # noqa: BLE001 - it is the answer
            result = OmeZarrError(f"{type(error).__name__}: {error}")
        try:
            pipe.send(result)
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - what cannot be pickled
            pipe.send(OmeZarrError(f"What came of it cannot be sent: {error}"))


def _follow(parent: int) -> None:
    """End this process as soon as its parent has: what it has begun is the parent's to redo."""
    multiprocessing.connection.wait([parent])
    os._exit(1)


class _Processes(Crew[Item, Result]):
    def __init__(self, packed: bytes, size: int) -> None:
        self._packed, self._size = packed, size
        self._free: list[_Lane] = []
        self._working: list[_Lane] = []
        self._proven = False

    def size(self) -> int:
        return self._size

    def busy(self) -> int:
        return len(self._working)

    def start(self, item: Item) -> None:
        self._start(item, 1)

    def _start(self, item: Item, attempts: int) -> None:
        lane = self._free.pop() if self._free else _Lane(self._packed)
        lane.item, lane.attempts = item, attempts
        self._working.append(lane)
        # If it has died meanwhile, its pipe says so in a moment.
        with suppress(BrokenPipeError):
            lane.pipe.send(item)

    def collect(self) -> list[tuple[Item, Result | BaseException]]:
        done: list[tuple[Item, Result | BaseException]] = []
        while not done:
            ends = [end for lane in self._working for end in (lane.pipe, lane.process.sentinel)]
            there = set(multiprocessing.connection.wait(ends))
            for lane in list(self._working):
                if not there.isdisjoint((lane.pipe, lane.process.sentinel)):
                    done += self._answer(lane)
        return done

    def _answer(self, lane: _Lane) -> list[tuple[Item, Result | BaseException]]:
        try:
            # Of one that has died, what it had sent before counts.
            result = lane.pipe.recv() if lane.pipe.poll() else self._died(lane)
        except (EOFError, ConnectionResetError):
            result = self._died(lane)
        if not (lane.ready or isinstance(result, LostError)):
            lane.ready = self._proven = True
            return []
        self._working.remove(lane)
        if not isinstance(result, LostError):
            self._free.append(lane)
            return [(lane.item, result)]
        if lane.attempts < _ATTEMPTS:
            self._start(lane.item, lane.attempts + 1)
            return []
        return [(lane.item, result)]

    def _died(self, lane: _Lane) -> LostError:
        lane.stop()
        code = lane.process.exitcode or 0
        if not self._proven and lane.attempts == _ATTEMPTS:
            msg = (
                f"No process could be started to run the function in: it ended with exit code "
                f"{code}, and has said why on standard error. A script has to call this under "
                "`if __name__ == '__main__':`, since each process imports it."
            )
            raise OmeZarrError(msg)
        with suppress(ValueError):
            return LostError(f"its process was killed by {signal.Signals(-code).name}")
        return LostError(f"its process ended with exit code {code}")

    def close(self) -> None:
        for lane in (*self._free, *self._working):
            lane.stop()
        self._free, self._working = [], []


# ── a cluster ────────────────────────────────────────────────────────────────────────────────────


class _Cluster(Crew[Item, Result]):
    def __init__(self, packed: bytes, client: Any, size: int | None) -> None:  # noqa: ANN401
        self._packed, self._client, self._size = packed, client, size
        self._waiting: dict[Any, Item] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def size(self) -> int:
        # Workers come and go.
        return self._size or sum(self._client.nthreads().values())

    def busy(self) -> int:
        return len(self._waiting)

    def start(self, item: Item) -> None:
        future = self._client.submit(_call, self._packed, item, pure=False)
        self._waiting[future] = item
        # `distributed.wait` knows the client only that is the default.
        future.add_done_callback(self._done.put)

    def collect(self) -> list[tuple[Item, Result | BaseException]]:
        from distributed.scheduler import KilledWorker

        future = self._done.get()
        item = self._waiting.pop(future)
        try:
            return [(item, future.result())]
        except KilledWorker as error:
            return [(item, LostError(str(error)))]
        except Exception as error:  # noqa: BLE001 - it is the answer
            return [(item, error)]
        finally:
            future.release()

    def close(self) -> None:
        if self._waiting:
            with suppress(Exception):  # a cluster that is gone has nothing to give up
                self._client.cancel(list(self._waiting))
        self._waiting = {}
