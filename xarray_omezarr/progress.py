"""Running tasks, and a bar that shows how far they are."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xarray_omezarr import options

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from dask.delayed import Delayed


def shown(asked: bool | None) -> bool:  # noqa: FBT001 - the argument of that name
    """Say whether a bar is shown: as asked, else as the options say."""
    return bool(options.get("progress")) if asked is None else asked


def compute(task: Delayed, blocks: Mapping[Hashable, int], *, here: bool, bar: bool) -> None:
    """Run a task and all that it depends on.

    Parameters
    ----------
    task
        What is wanted.
    blocks
        The keys of those of its dependencies that write, and how many bytes each does.
    here
        Whether it has to be run by threads of this process, whatever dask is set to.
    bar
        Whether to show a bar. There is none where nobody would see it: where standard error is
        neither a terminal nor a notebook's.
    """
    run: Any = task.compute
    scheduler = _scheduler(here=here)
    by = {} if scheduler is None else {"scheduler": scheduler}
    if not (bar and (sys.stderr.isatty() or _in_notebook())):
        run(**by)
        return
    from tqdm.auto import tqdm

    total = sum(blocks.values())
    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as shown_bar:
        found = client() if scheduler is None else None
        if found is None:
            with _callback(blocks, shown_bar):
                run(**by)
            return
        from distributed import as_completed

        *written, last = found.get(task.dask, [*blocks, task.key], sync=False)
        for future in as_completed(written):
            shown_bar.update(blocks[future.key])
            # What it handed on is wanted no longer by anybody here.
            future.release()
        last.result()


@contextmanager
def counting(total: int | None, unit: str, *, bar: bool) -> Iterator[Callable[[int], object]]:
    """Show a bar of how many of some things are done; it is advanced by what this gives."""
    if not (bar and (sys.stderr.isatty() or _in_notebook())):
        yield lambda _: None
        return
    from tqdm.auto import tqdm

    # Bytes are counted in thousands and millions.
    with tqdm(total=total, unit=unit, unit_scale=unit == "B", unit_divisor=1024) as shown_bar:
        yield shown_bar.update


@contextmanager
def carrying(
    total: int | None, count: int, *, bar: bool
) -> Iterator[Callable[[int | None], object]]:
    """Show a bar of the bytes that have come, their rate, and the time that is left.

    Parameters
    ----------
    total
        How many bytes there are. Where that is not known, the bar is one of objects.
    count
        How many objects there are, at the most.
    bar
        Whether to show it.

    Yields
    ------
    callable
        Called for each object, with its length; None where there was none.
    """
    if not (bar and (sys.stderr.isatty() or _in_notebook())):
        yield lambda _: None
        return
    from tqdm.auto import tqdm

    if total is not None:
        with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as shown_bar:
            yield lambda size: shown_bar.update(size or 0)
        return
    with tqdm(total=count, unit="file") as shown_bar:
        came = 0

        def advance(size: int | None) -> None:
            nonlocal came
            came += size or 0
            rate = came / max(shown_bar.format_dict["elapsed"], 1e-3)
            told = (shown_bar.format_sizeof(number, "B", 1024) for number in (came, rate))
            shown_bar.set_postfix_str("{}, {}/s".format(*told), refresh=False)
            shown_bar.update(1)

        yield advance


def elsewhere() -> bool:
    """Say whether dask is set to run tasks in other processes than this one."""
    import dask.base

    base: Any = dask.base
    run: Any = _scheduler(here=False) or base.get_scheduler()
    cluster = hasattr(getattr(run, "__self__", None), "scheduler_info")
    return cluster or (run is not None and run is base.named_schedulers.get("processes"))


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _scheduler(*, here: bool) -> Callable[..., Any] | None:
    """Give the scheduler to run tasks by; None leaves it to dask, which finds clusters.

    Left to it, or given a name, dask imports all that runs a cluster, to see whether one does:
    half a second, and tens of megabytes, for whoever has not imported it yet.
    """
    import dask.base
    import dask.threaded

    base: Any = dask.base
    threads: Callable[..., Any] = dask.threaded.get
    chosen = dask.config.get("scheduler", None)
    if here:
        return threads
    if "distributed" in sys.modules:
        return None
    if chosen is None:
        return threads
    named: Callable[..., Any] | None = base.named_schedulers.get(chosen)
    return named


def client() -> Any:  # noqa: ANN401 - a distributed.Client, where that is installed
    """Give the client of a cluster, if one is active."""
    if "distributed" not in sys.modules:
        return None
    import dask.base

    base: Any = dask.base
    client = getattr(base.get_scheduler(), "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


def _callback(blocks: Mapping[Hashable, int], bar: Any) -> Any:  # noqa: ANN401 - not typed
    from dask.callbacks import Callback

    def done(key: Hashable, *_: object) -> None:
        bar.update(blocks.get(key, 0))

    callback: Any = Callback
    return callback(posttask=done)
