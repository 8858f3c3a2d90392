"""What grouping concurrent requests gains, and what waiting for company costs.

    python -m benchmarks.batcher [BUNDLE] [--launches 7] [--json FILE]

Clients in a closed loop: each asks for one sample, waits for its answer and asks again. Every
way of serving them is launched in a fresh process once a round, in random order; this
process blocks meanwhile. The model runs on one thread.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from edgedl import runtime
from edgedl.bench.cells import show_ns
from edgedl.bench.stats import median, median_interval, paired_ratio, percentile
from edgedl.bench.table import Table, markdown
from edgedl.cli.terminal import one_line_errors, say
from edgedl.runtime.golden import Arrays, read_golden
from edgedl.runtime.host import describe_host

WARM_S, LEAST_S = 0.2, 1.0
CLIENTS = (1, 8, 32)

Ask = Callable[[Arrays], Awaitable[Arrays]]


@dataclass(frozen=True)
class Way:
    """How requests are served: `max_batch` 0 is a thread of asyncio's pool for each."""

    max_batch: int
    max_wait_s: float = 0.0

    def __str__(self) -> str:
        if not self.max_batch:
            return "asyncio.to_thread(model.run)"
        return f"max_batch={self.max_batch}, max_wait_s={self.max_wait_s:g}"


WAYS = (Way(0), Way(1), Way(8), Way(8, 0.002), Way(32))


@dataclass(frozen=True)
class Launch:
    """One launch: every answered request's latency, and how many rows shared a run."""

    latencies_ns: list[int]
    seconds: float
    mean_batch: float

    @property
    def ns_per_request(self) -> float:
        """Wall time divided by requests: what throughput is the inverse of."""
        return self.seconds * 1e9 / len(self.latencies_ns)


@click.command()
@click.argument("bundle", default="build/demo/digits.bundle")
@click.option("--launches", default=7, type=click.IntRange(2), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Keep every launch.")
@click.option("--case", hidden=True, help="Run one launch: a way's number and how many clients.")
def main(bundle: str, launches: int, json_file: Path | None, case: str | None) -> None:
    """Measure every way of serving with 1, 8 and 32 clients; a Markdown table on stdout."""
    with one_line_errors():
        if case is not None:
            way, clients = map(int, case.split(","))
            click.echo(json.dumps(vars(asyncio.run(launch(bundle, WAYS[way], clients)))))
            return
        found = measure(bundle, launches)
        host = describe_host()
        say(f"{bundle}, {host.cpus} CPUs, {host.processor}")
        click.echo(markdown(tabulate(found)))
        if json_file is not None:
            kept = [
                {"way": str(WAYS[w]), "clients": c, "launches": [vars(one) for one in all_of]}
                for (w, c), all_of in found.items()
            ]
            json_file.write_text(json.dumps(kept))


def measure(bundle: str, rounds: int) -> dict[tuple[int, int], list[Launch]]:
    """Every case's launches, by way and clients; interleaved, one per round."""
    cases = [(way, clients) for clients in CLIENTS for way in range(len(WAYS))]
    found: dict[tuple[int, int], list[Launch]] = {case: [] for case in cases}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for way, clients in random.sample(cases, len(cases)):
            command = [sys.executable, "-m", "benchmarks.batcher", bundle]
            command += ["--case", f"{way},{clients}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            if done.returncode:
                raise runtime.WorkerError(f"{WAYS[way]} with {clients} clients failed, see above")
            found[way, clients].append(Launch(**json.loads(done.stdout)))
    return found


async def launch(bundle: str, way: Way, clients: int) -> Launch:
    """Load, warm up, then measure until the time is over."""
    with runtime.load(bundle, threads=1) as model:
        feeds = sample(model)
        if not way.max_batch:
            loop = asyncio.get_running_loop()
            latencies, seconds = await closed_loop(
                lambda feeds: loop.run_in_executor(None, model.run_feeds, feeds), feeds, clients
            )
            return Launch(latencies, seconds, 1.0)
        options = (way.max_batch, way.max_wait_s)
        async with runtime.Batcher(model, *options) as batcher:
            latencies, seconds = await closed_loop(lambda f: batcher.run(**f), feeds, clients)
            return Launch(latencies, seconds, batcher.stats.mean_batch)


def sample(model: runtime.Model) -> Arrays:
    """A golden sample, with its batch axis of one."""
    golden = [v for v in read_golden(model.bundle) if v.case.sizes.get("batch") == 1]
    return golden[0].inputs


async def closed_loop(ask: Ask, feeds: Arrays, clients: int) -> tuple[list[int], float]:
    """Latencies of all requests in nanoseconds, and the seconds they took together."""
    await asyncio.gather(*(client(ask, feeds, WARM_S) for _ in range(clients)))
    start = time.perf_counter()
    each = await asyncio.gather(*(client(ask, feeds, LEAST_S) for _ in range(clients)))
    return [latency for one in each for latency in one], time.perf_counter() - start


async def client(ask: Ask, feeds: Arrays, seconds: float) -> list[int]:
    """One client's latencies in nanoseconds."""
    end, latencies = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        asked = time.perf_counter_ns()
        await ask(feeds)
        latencies.append(time.perf_counter_ns() - asked)
    return latencies


def tabulate(found: dict[tuple[int, int], list[Launch]]) -> Table:
    """One row per case; the ratio is of time per request, to a run for each, same round."""
    headers = ("clients", "served by", "rows a run", "p50", "95 % interval", "p99",
               "requests a second", "time per request, to max_batch=1")  # fmt: skip
    rows, alone = [], WAYS.index(Way(1))
    for (way, clients), launches in found.items():
        latencies = [one.latencies_ns for one in launches]
        interval, p99 = median_interval(latencies), percentile(latencies, 0.99)
        ratio = paired_ratio(
            [one.ns_per_request for one in launches],
            [one.ns_per_request for one in found[alone, clients]],
        )
        assert interval is not None
        rows.append(
            (
                str(clients),
                f"`{WAYS[way]}`",
                f"{np.mean([one.mean_batch for one in launches]):.1f}",
                show_ns(median(latencies)),
                f"{show_ns(interval.low)} - {show_ns(interval.high)}",
                "needs more samples" if p99 is None else show_ns(p99),
                f"{1e9 / np.median([one.ns_per_request for one in launches]):,.0f}",
                ""
                if ratio is None or way == alone
                else f"{ratio.value:.2f} ({ratio.low:.2f} - {ratio.high:.2f})",
            )
        )
    return Table(headers, tuple(rows))


if __name__ == "__main__":
    main()
