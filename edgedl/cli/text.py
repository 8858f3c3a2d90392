"""Writing text from prompts: the options of `edgedl run`, and what a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from edgedl.runtime.errors import InputError
from edgedl.runtime.sampling import Sampling

if TYPE_CHECKING:
    from edgedl.runtime.text import Piece, TextGenerator

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--max-tokens", type=click.IntRange(0), default=200, show_default=True),
    click.option(
        "--temperature",
        type=click.FloatRange(0),
        default=0.8,
        show_default=True,
        help="Divides the scores; 0 always takes the likeliest token.",
    ),
    click.option(
        "--top-k", type=click.IntRange(1), metavar="K", help="Draw from the K likeliest tokens."
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1),
        default=1.0,
        metavar="P",
        help="Draw from the fewest tokens that together are this likely.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0),
        help="Makes the text repeatable; the next prompt's is one more.",
    ),
    click.option(
        "--stop", multiple=True, metavar="TEXT", help="End before this text. Several may be given."
    ),
)


def sampling_options(command: Command) -> Command:
    """The options that say how text goes on."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_sampling(options: dict[str, Any]) -> Sampling:
    """What the options say; values that make no sense are wrong usage."""
    names = ("max_tokens", "temperature", "seed", "top_k", "top_p", "stop")
    try:
        return Sampling(**{name: options[name] for name in names})
    except InputError as error:
        raise click.UsageError(error.message) from None


def write_texts(
    generator: TextGenerator, prompts: Sequence[str], sampling: Sampling, as_json: bool
) -> None:
    """Continue the prompts and print them: as the text comes, or at the end as JSON."""
    options = vars(sampling)
    if len(prompts) > 1:
        batch = generator.generate_batch(prompts, **options)
        (_print_json if as_json else _show_all)(prompts, batch)
        return
    pieces = generator.generate(prompts[0], **options)
    if as_json:
        click.echo(msgspec.json.encode({"prompt": prompts[0], "text": "".join(pieces)}))
        return
    with _whole_line():
        _show(prompts[0])
        for piece in pieces:
            _show(piece)


def _show_all(prompts: Sequence[str], pieces: Iterable[Piece]) -> None:
    """Each prompt and its text, a blank line between; the first that isn't done as it comes."""
    waiting, ended, front = list(prompts), set(), 0
    with _whole_line():
        for row, text, last in pieces:
            waiting[row] += text
            ended |= {row} if last else set()
            while front in ended:
                _show(waiting[front] + "\n\n" * (front < len(prompts) - 1))
                front += 1
            if front < len(prompts):
                _show(waiting[front])
                waiting[front] = ""
        _show("\n\n".join(waiting[front:]))


def _print_json(prompts: Sequence[str], pieces: Iterable[Piece]) -> None:
    texts = [""] * len(prompts)
    for row, text, _ in pieces:
        texts[row] += text
    answer = [{"prompt": p, "text": t} for p, t in zip(prompts, texts, strict=True)]
    click.echo(msgspec.json.encode(answer))


@contextmanager
def _whole_line() -> Iterator[None]:
    """Whatever ends the text, an interrupt too, the line is ended: an error gets its own."""
    try:
        yield
    finally:
        click.echo()


def _show(text: str) -> None:
    if text:
        click.echo(text, nl=False)  # flushes
