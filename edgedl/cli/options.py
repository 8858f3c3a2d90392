"""Options and parameter types that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click
from click.core import ParameterSource

from edgedl.devices import open_device
from edgedl.runtime.errors import UnknownDeviceError

Value = TypeVar("Value")


def options_given(context: click.Context) -> set[str]:
    """The parameters, by name, that stand on the command line."""
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


class Parsed(click.ParamType, Generic[Value]):  # type: ignore[type-arg]
    """A parameter read by a function that raises ValueError on another form."""

    def __init__(self, name: str, parse: Callable[[str], Value]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Value:
        """Parse text; values that are no text are parsed already."""
        if not isinstance(value, str):
            parsed: Value = value
            return parsed
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def counts(text: str) -> tuple[int, ...]:
    """Read `1,8`: positive whole numbers."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not a list of whole numbers such as 1,8") from None
    if min(numbers) < 1:
        raise ValueError(f"{text!r}: numbers start at 1")
    return tuple(dict.fromkeys(numbers))


def axis_size(text: str) -> tuple[str, int]:
    """Read `time=64`."""
    name, _, size = text.partition("=")
    if not name or not size.isdigit() or int(size) < 1:
        raise ValueError(f"{text!r} is not AXIS=SIZE such as time=64")
    return name, int(size)


def device_name(text: str) -> str:
    """Check that a device name means something."""
    try:
        open_device(text)
    except UnknownDeviceError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None
    return text


bundle_argument = click.argument("bundle", type=click.Path())
variant_option = click.option(
    "--variant", "variants", multiple=True, metavar="V", help="A variant; all when left out."
)
device_option = click.option(
    "--device",
    "devices",
    multiple=True,
    type=Parsed("device", device_name),
    default=("cpu",),
    show_default="cpu",
    metavar="D",
    help="Where to run: cpu, cuda[:N], openvino[:TYPE], ...: docs/devices.md. May be repeated.",
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
