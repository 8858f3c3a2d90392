"""Devices: where a worker runs. One file per kind, one line in the table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgedl.devices.local import LocalDevice
from edgedl.runtime.errors import UnknownDeviceError
from edgedl.runtime.protocol import Answer, Request
from edgedl.runtime.providers import PROVIDERS

__all__ = ["Device", "open_device"]


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
