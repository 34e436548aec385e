"""Run the benchmarks without asv, and print their figures as Markdown.

    python run.py [--bench REGEX] [--slow] [--rounds N] [--list]

Every measurement has a process of its own, as with asv: figures of memory are clean, and nothing
is warm from the benchmark before. All of them are gone through several times, so that what
is compared is measured in turns; a time is the median of all samples, and beside it stands the
half of them that is closest to it.

Beside the kinds of benchmark that asv knows there is one that it passes over, ``figures_*``: it
gives several figures by name, and its class makes the tables of them (``report``).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import inspect
import itertools
import json
import os
import pickle
import pkgutil
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: As `benchmarks.SLOW`, which can be imported only once the path to it is known.
SLOW = "XARRAY_OMEZARR_SLOW_BENCHMARKS"
KINDS = ("time", "timeraw", "track", "peakmem", "figures")
#: Timed calls in a process: at least so many, then more until so many seconds have passed.
CALLS, SECONDS = 5, 2.0
SKIPPED = "skipped"
#: Those whose versions stand beside the figures.
PACKAGES = [
    "xarray-omezarr",
    "xarray",
    "zarr",
    "dask",
    "numpy",
    "numcodecs",
    "zarrs",
    "ome-zarr",
    "ngff-zarr",
]


@dataclass(frozen=True)
class Benchmark:
    """A method of a benchmark class, or a function, for all of its parameters."""

    name: str
    """Module, class and method, as asv has it."""
    kind: str
    owner: Any
    """The class; None for a function."""
    function: Callable[..., Any]

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """Give the values of each parameter."""
        return dict(
            zip(
                getattr(self.function, "param_names", []),
                getattr(self.function, "params", []),
                strict=True,
            )
        )

    @property
    def cases(self) -> list[tuple[Any, ...]]:
        """Give all combinations of parameters."""
        return list(itertools.product(*self.parameters.values()))

    @property
    def noisy(self) -> bool:
        """Say whether another run gives another figure."""
        noisy = self.kind.startswith("time") or self.kind == "figures"
        return noisy or getattr(self.function, "noisy", False)

    def unit(self) -> str:
        """Say what the figures are."""
        units = {"track": getattr(self.function, "unit", "unit"), "peakmem": "bytes"}
        return units.get(self.kind, "seconds")


def discover(pattern: str = "") -> Iterator[Benchmark]:
    """Yield the benchmarks whose names match a pattern."""
    sys.path.insert(0, str(Path(__file__).parent))
    package = importlib.import_module("benchmarks")
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"benchmarks.{info.name}")
        scopes: list[tuple[str, Any, dict[str, Any]]] = [("", None, vars(module))]
        scopes += [
            (f"{name}.", value, dict(inspect.getmembers(value, inspect.isfunction)))
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
        ]
        for prefix, owner, members in scopes:
            for name, function in members.items():
                kind = name.partition("_")[0]
                full = f"{info.name}.{prefix}{name}"
                if kind in KINDS and "_" in name and re.search(pattern, full, re.IGNORECASE):
                    yield Benchmark(full, kind, owner, function)


# ── one measurement, in a process of its own ─────────────────────────────────────────────────────


def measure(benchmark: Benchmark, case: tuple[Any, ...]) -> list[Any]:
    """Run one benchmark with one set of parameters, and give its samples.

    Parameters
    ----------
    benchmark
        Which one.
    case
        Its parameters; what `setup_cache` has given comes before them.
    """
    instance = None if benchmark.owner is None else benchmark.owner()
    method = benchmark.function if instance is None else benchmark.function.__get__(instance)
    prepare = getattr(instance, "setup", _nothing)
    clean = getattr(instance, "teardown", _nothing)

    def call() -> tuple[float, Any]:
        prepare(*case)
        gc.collect()
        try:
            start = time.perf_counter()
            result = method(*case)
            return time.perf_counter() - start, result
        finally:
            clean(*case)

    if benchmark.kind == "track":
        return [float(call()[1])]
    if benchmark.kind == "figures":
        return [call()[1]]
    if benchmark.kind == "peakmem":
        from benchmarks.memory import peak_bytes

        call()
        return [float(peak_bytes())]
    if benchmark.kind == "timeraw":
        code = str(call()[1])
        command = [sys.executable, "-c", f"import timeit; print(timeit.timeit({code!r}, number=1))"]
        return _repeat(lambda: float(subprocess.check_output(command)))  # noqa: S603
    call()
    return _repeat(lambda: call()[0])


def _repeat(sample: Callable[[], float]) -> list[float]:
    samples: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(samples) < CALLS or time.perf_counter() < end:
        samples.append(sample())
    return samples


def _nothing(*_args: Any) -> None:
    """Stand in for a setup or teardown that is not there."""


# ── all of them, and the tables ──────────────────────────────────────────────────────────────────


@dataclass
class Result:
    """What came of one set of parameters."""

    samples: list[Any] = field(default_factory=list)
    """Numbers, or for several figures of one run mappings to numbers."""
    note: str = ""
    reason: str = ""
    """Why it was skipped."""

    def text(self, unit: str) -> str:
        """Print the median, and where the middle half of the samples lies."""
        if not self.samples:
            return self.note
        if isinstance(self.samples[-1], dict):
            return ", ".join(f"{key} {value:.4g}" for key, value in self.samples[-1].items())
        middle = statistics.median(self.samples)
        if len(self.samples) < 4:
            return readable(middle, unit)
        low, _, high = statistics.quantiles(self.samples, n=4)
        return f"{readable(middle, unit)} ({readable(low, unit)} – {readable(high, unit)})"


def readable(value: float, unit: str) -> str:
    """Write a figure for people."""
    if unit == "seconds":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def run(benchmarks: Sequence[Benchmark], rounds: int) -> dict[str, list[Result]]:
    """Measure everything, in turns."""
    results = {b.name: [Result() for _ in b.cases] for b in benchmarks}
    with tempfile.TemporaryDirectory(prefix="xarray-omezarr-") as directory:
        for benchmark in benchmarks:
            _fill_cache(benchmark, Path(directory))
        for number in range(rounds):
            for benchmark in benchmarks:
                if number and not benchmark.noisy:
                    continue
                for index, result in enumerate(results[benchmark.name]):
                    if not result.note:
                        _run_one(benchmark, index, result, _cache_of(benchmark, Path(directory)))
                        label = ", ".join(map(str, benchmark.cases[index]))
                        text = result.text(benchmark.unit())
                        line = f"{number + 1}/{rounds} {benchmark.name}({label}): {text}"
                        sys.stderr.write(f"{line}\n")
    return results


def _cache_of(benchmark: Benchmark, directory: Path) -> Path | None:
    """Say where that is kept which a class makes once for all of its benchmarks."""
    if not hasattr(benchmark.owner, "setup_cache"):
        return None
    return directory / f"{benchmark.owner.__module__}.{benchmark.owner.__name__}" / "cache.pickle"


def _fill_cache(benchmark: Benchmark, directory: Path) -> None:
    """Have a class make what its benchmarks share: in a directory and a process of their own."""
    cache = _cache_of(benchmark, directory)
    if cache is None or cache.parent.exists():
        return
    cache.parent.mkdir()
    script = Path(__file__).resolve()
    command = [sys.executable, str(script), "--fill", benchmark.name, str(cache)]
    subprocess.run(command, check=True, cwd=cache.parent)  # noqa: S603


def _run_one(benchmark: Benchmark, index: int, result: Result, cache: Path | None) -> None:
    command = [sys.executable, __file__, "--one", benchmark.name, str(index)]
    if cache is not None:
        command += ["--cache", str(cache)]
    timeout = getattr(benchmark.owner, "timeout", 600)
    try:
        done = subprocess.run(  # noqa: S603
            command, stdout=subprocess.PIPE, timeout=timeout, check=True, text=True
        )
    except subprocess.TimeoutExpired:
        result.note = f"took more than {timeout} s"
    except subprocess.CalledProcessError as error:
        result.note = f"failed ({error.returncode})"
    else:
        answer = json.loads(done.stdout.splitlines()[-1])
        if isinstance(answer, str):
            result.note, result.reason = SKIPPED, answer
        else:
            result.samples += answer


def tables(benchmarks: Sequence[Benchmark], results: dict[str, list[Result]]) -> Iterator[str]:
    """Yield the lines of all tables."""
    for benchmark in benchmarks:
        found = results[benchmark.name]
        yield ""
        if benchmark.kind != "figures":
            yield from table(benchmark, found)
            continue
        cases = list(zip(benchmark.cases, found, strict=True))
        figures = {case: result.samples for case, result in cases}
        notes = [
            f"{', '.join(map(str, case))}: {result.reason or result.note}"
            for case, result in cases
            if result.note
        ]
        yield from benchmark.owner.report(figures, notes)


def table(benchmark: Benchmark, results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a benchmark's table; its last parameter runs along the columns."""
    unit = benchmark.unit()
    cells = [result.text(unit) for result in results]
    of = "" if unit in ("seconds", "bytes") else f", {unit}"
    yield f"**{benchmark.name}**{of}"
    yield ""
    names = list(benchmark.parameters)
    values = list(benchmark.parameters.values())
    if not names:
        yield "| figure |\n|---:|"
        yield f"| {cells[0]} |"
        return
    columns = [v if isinstance(v, str) else f"{names[-1]} = {v}" for v in values[-1]]
    yield f"| {' | '.join([*names[:-1], *columns])} |"
    yield f"|{'---|' * len(names[:-1])}{'---:|' * len(columns)}"
    for number, row in enumerate(itertools.product(*values[:-1])):
        part = cells[number * len(columns) : (number + 1) * len(columns)]
        yield f"| {' | '.join([*map(str, row), *part])} |"


def machine() -> str:
    """Say what the figures were measured on."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"Python {platform.python_version()}, {', '.join(found)}; {cores} cores, "
        f"{platform.system()}, files in {_file_system(tempfile.gettempdir())}"
    )


def _file_system(directory: str) -> str:
    """Say on what kind of file system a directory lies."""
    import psutil

    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    path = Path(directory).resolve()
    kinds = (mounts[str(p)] for p in (path, *path.parents) if str(p) in mounts)
    return next(kinds, "an unknown file system")


def _answer(name: str, index: int, cache: str | None) -> int:
    """Measure once, and print the samples, or why there are none."""
    (benchmark,) = discover(f"^{re.escape(name)}$")
    case = benchmark.cases[index]
    if cache is not None:
        case = (pickle.loads(Path(cache).read_bytes()), *case)  # noqa: S301 - this script's own
    try:
        answer: object = measure(benchmark, case)
    except NotImplementedError as error:
        answer = str(error)
    sys.stdout.write(f"{json.dumps(answer)}\n")
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--bench", default="", metavar="REGEX", help="only those whose names match")
    parser.add_argument("--slow", action="store_true", help="also those of gigabytes and minutes")
    parser.add_argument("--rounds", type=int, default=2, help="how often times are taken")
    parser.add_argument("--list", action="store_true", help="list their names")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--fill", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.slow:
        # Before the benchmarks are imported: what they are may depend on it.
        os.environ[SLOW] = "1"
    if options.fill:
        name, file = options.fill
        (benchmark,) = discover(f"^{re.escape(name)}$")
        Path(file).write_bytes(pickle.dumps(benchmark.owner().setup_cache()))
        return 0
    if options.one:
        name, index = options.one
        return _answer(name, int(index), options.cache)
    benchmarks = list(discover(options.bench))
    if options.list:
        sys.stdout.write("".join(f"{benchmark.name}\n" for benchmark in benchmarks))
        return 0
    results = run(benchmarks, options.rounds)
    sys.stdout.write(f"{machine()}\n")
    sys.stdout.write("".join(f"{line}\n" for line in tables(benchmarks, results)))
    failed = [r for many in results.values() for r in many if r.note not in ("", SKIPPED)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
