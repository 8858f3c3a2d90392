"""Option stacks of edgedl bench."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import click

from edgedl.bench.plan import DEFAULT_LAUNCHES
from edgedl.cli.options import Parsed, axis_size, counts
from edgedl.runtime.protocol import MODES, Mode
from edgedl.runtime.settings import MOST_THREADS

Command = Callable[..., Any]
MOST_RATE, LEAST_RATE = 100_000, 0.001
MOST_S = 7 * 24 * 3600


def percent(text: str) -> float:
    """Read `5%` as 0.05."""
    number = text.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{text!r} is not a percentage such as 5%") from None
    if not 0 <= value < 1000:
        raise ValueError(f"{text!r} is not a percentage from 0% on")
    return value / 100


def thread_numbers(text: str) -> tuple[int, ...] | Literal["auto"]:
    """Read `1,4`, or `auto`."""
    if text == "auto":
        return "auto"
    numbers = counts(text)
    if max(numbers) > MOST_THREADS:
        raise ValueError(f"{text!r}: {MOST_THREADS:,} threads at most")
    return numbers


def switches(text: str) -> tuple[bool, ...]:
    """Read `on`, `off` or `on,off`."""
    words = dict.fromkeys(text.split(","))
    if not words.keys() <= {"on", "off"}:
        raise ValueError(f"{text!r} is not on, off or on,off")
    return tuple(word == "on" for word in words)


def modes(text: str) -> tuple[Mode, ...]:
    """Read `model`, or several of the modes."""
    words = dict.fromkeys(text.split(","))
    found = tuple(mode for word in words for mode in MODES if mode == word)
    if len(found) < len(words):
        raise ValueError(f"{text!r} is not one or several of {', '.join(MODES)}")
    return found


def positive(text: str) -> float:
    """Read a number over 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{text!r} is not a number over 0")
    return number


def rate(text: str) -> float:
    """Read requests per second."""
    number = positive(text)
    if number > MOST_RATE:
        raise ValueError(f"{text!r}: one process asks {MOST_RATE:,} times a second at most")
    if number < LEAST_RATE:
        raise ValueError(f"{text!r}: {LEAST_RATE} per second at least")
    return number


def seconds(text: str) -> float:
    """Read seconds, a week of them at most."""
    number = positive(text)
    if number > MOST_S:
        raise ValueError(f"{text!r} is more than a week, {MOST_S:,} seconds")
    return number


def duration(text: str) -> float:
    """Read `90s`, `10m` or `1h` as seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        length = float(number) * units[unit]
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m or 1h") from None
    if not 1 <= length <= MOST_S:
        raise ValueError(f"{text!r} is not a duration from a second to a week")
    return length


def stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, listed by --help in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


case_options = stack(
    click.option(
        "--batch",
        "batches",
        type=Parsed("counts", counts),
        default="1",
        show_default=True,
        metavar="1,8",
        help="Batch sizes.",
    ),
    click.option(
        "--size",
        "sizes",
        multiple=True,
        type=Parsed("size", axis_size),
        metavar="AXIS=N",
        help="The size of another dynamic axis; the least that is proved when left out: 1, mostly.",
    ),
    click.option(
        "--threads",
        type=Parsed("counts", thread_numbers),
        metavar="1,4|auto",
        help="Threads within an operator; all usable CPUs when left out. auto: 1, 2, 4 up to all.",
    ),
    click.option(
        "--spinning",
        type=Parsed("switches", switches),
        metavar="on,off",
        help="Whether idle threads burn their core; off when left out.",
    ),
    click.option(
        "--arena",
        type=Parsed("switches", switches),
        metavar="on,off",
        help="Whether freed memory is kept for the next run; on when left out.",
    ),
    click.option(
        "--mode",
        "modes",
        type=Parsed("modes", modes),
        default="model",
        show_default=True,
        metavar="model,run,app",
        help="What a sample is: the bound call (a stateful model's step), Model.run, or the "
        "whole task: pixels to label, text to more text.",
    ),
)

loop_options = stack(
    click.option(
        "--launches",
        type=click.IntRange(1),
        help=f"Fresh processes per case; {DEFAULT_LAUNCHES} when left out, 1 with --sustained.",
    ),
    click.option(
        "--seconds",
        "least_s",
        type=Parsed("number", seconds),
        default=0.5,
        show_default=True,
        metavar="S",
        help="Least time to measure in each launch.",
    ),
    click.option(
        "--rate",
        type=Parsed("rate", rate),
        metavar="N",
        help="N requests per second, come what may; latency counts from when one was due.",
    ),
    click.option(
        "--arrivals",
        type=click.Choice(["fixed", "poisson"]),
        default="fixed",
        show_default=True,
        help="With --rate: requests at even distances, or at random ones.",
    ),
    click.option(
        "--deadline",
        "deadline_ms",
        type=Parsed("number", positive),
        metavar="MS",
        help="With --rate: a request answered later is missed; the distance of two if left out.",
    ),
    click.option(
        "--sustained",
        "sustained_s",
        type=Parsed("duration", duration),
        metavar="10m",
        help="Go on for that long, and tell how the timings change.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Of the launches' order and of random arrivals.",
    ),
)

result_options = stack(
    click.option(
        "--phases",
        is_flag=True,
        help="A second table: import, cold and warm load, first run, memory.",
    ),
    click.option(
        "--json",
        "json_file",
        type=click.Path(dir_okay=False, allow_dash=True),
        metavar="FILE",
        help="Write raw samples and the machine as JSON lines; - prints them, not the table.",
    ),
    click.option(
        "--html",
        "html_file",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write one page that needs nothing else: plots, tables, parity, raw samples.",
    ),
    click.option(
        "--markdown",
        "markdown_file",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write the tables as Markdown.",
    ),
    click.option(
        "--from",
        "from_files",
        is_flag=True,
        help="Show what --json or --html wrote, with --html or --markdown as a page; nothing is "
        "measured.",
    ),
)


# Two runs' files instead of bundles, and the gate of any comparison.
comparison_options = stack(
    click.option(
        "--compare",
        "as_files",
        is_flag=True,
        help="Compare files that --json wrote: A.json B.json, and A.json measured again as "
        "a third for the noise; or the one file of an A vs B run.",
    ),
    click.option(
        "--fail-above",
        type=Parsed("percent", percent),
        metavar="5%",
        help="Exit code 3 where B is shown to be slower than A by more than this.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="With --fail-above: fail unless B is shown to be within the limit.",
    ),
)

profile_option = click.option(
    "--profile",
    is_flag=True,
    help="Instead of timings: time by operator, and how far each node is from what this machine "
    "does at most.",
)

tune_option = click.option(
    "--tune",
    "tunes",
    is_flag=True,
    help="Find the fastest variant, threads, spinning and arena on this machine, and store "
    "them beside the bundle for load() to use here.",
)
