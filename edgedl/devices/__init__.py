"""Devices: where a worker runs. One file per kind, one line in the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edgedl.devices.local import LocalDevice
from edgedl.runtime.errors import EdgedlError, UnknownDeviceError
from edgedl.runtime.protocol import Answer, Failure, Request
from edgedl.runtime.providers import PROVIDERS

__all__ = ["Device", "ask_devices", "open_device"]

Wanted = TypeVar("Wanted", bound=Answer)


class Device(Protocol):
    """A place that runs a worker process."""

    name: str

    def run(self, request: Request) -> Answer:
        """Run one request in a fresh worker process."""
        ...


@dataclass(frozen=True)
class Scheme:
    """A kind of device: what its names look like and how it is opened."""

    shown: str
    pattern: re.Pattern[str]
    open: Callable[[str], Device]


SCHEMES = tuple(Scheme(p.shown, p.pattern, LocalDevice) for p in PROVIDERS)


def open_device(name: str) -> Device:
    """The device of that name.

    Raises:
        UnknownDeviceError: The name means nothing here.
    """
    for scheme in SCHEMES:
        if scheme.pattern.fullmatch(name):
            return scheme.open(name)
    known = ", ".join(scheme.shown for scheme in SCHEMES)
    raise UnknownDeviceError(f"unknown device {name!r}", f"known devices: {known}")


def ask_devices(
    names: Iterable[str], request: Callable[[str], Request], kind: type[Wanted]
) -> tuple[list[Wanted], EdgedlError | None]:
    """Ask one thing of several devices; one that fails doesn't lose the others' answers.

    Args:
        names: The devices.
        request: What to ask of one, by its name.
        kind: The answer it gives where it doesn't fail.

    Returns:
        The answers, and the first failure.
    """
    answers: list[Wanted] = []
    failure: EdgedlError | None = None
    for name in names:
        answer = open_device(name).run(request(name))
        if isinstance(answer, kind):
            answers.append(answer)
        elif isinstance(answer, Failure):
            failure = failure or answer.error()
    return answers, failure
