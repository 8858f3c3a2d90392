"""The group of verbs. A verb's file is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from edgedl import __version__
from edgedl.cli.terminal import one_line_errors
from edgedl.runtime.errors import EdgedlError

# verb -> what the overview says of it
VERBS = {
    "export": "Turn a trained model into a verified bundle.",
    "inspect": "Show what a bundle holds.",
    "parity": "Prove that a bundle answers what its source framework answered.",
    "bench": "Measure a bundle's variants in fresh processes.",
    "run": "Run a bundle on an input or on prompts.",
}


class Verbs(click.Group):
    """Finds a verb in `edgedl.cli.<verb>`; turns errors into one line and a hint."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order one meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"edgedl.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing every verb."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; errors end here."""
        with one_line_errors(), _parts_left_out():
            return super().invoke(ctx)


@contextmanager
def _parts_left_out() -> Iterator[None]:
    """A device's wheel holds only some of edgedl (see `edgedl.deploy.wheel`): say which."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("edgedl."):
            raise
        raise EdgedlError(
            f"this is a device's edgedl, without {error.name}",
            "do that where the model is, or install the whole: pip install 'edgedl[cpu,cli]'",
        ) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgedl")
def cli() -> None:
    """From a trained Keras or PyTorch model to a verified, quantised ONNX bundle.

    \b
    edgedl export model.keras -o digits.bundle --samples samples.npz
    edgedl parity digits.bundle
    edgedl bench digits.bundle
    """
