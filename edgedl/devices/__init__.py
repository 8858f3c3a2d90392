"""Devices: where a worker runs. One file per kind, one line in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgedl.devices.local import LocalDevice
from edgedl.runtime.errors import UnknownDeviceError
from edgedl.runtime.worker import Answer, Request

__all__ = ["Device", "open_device"]


class Device(Protocol):
    """A place that runs a worker process."""

    name: str

    def run(self, request: Request) -> Answer:
        """Run one request in a fresh worker process."""
        ...


SCHEMES: dict[str, Callable[[str], Device]] = {"cpu": LocalDevice, "cuda": LocalDevice}


def open_device(name: str) -> Device:
    """The device of that name.

    Raises:
        UnknownDeviceError: The name means nothing here.
    """
    scheme = name.partition(":")[0]
    if scheme not in SCHEMES:
        raise UnknownDeviceError(
            f"unknown device {name!r}", f"known devices: {', '.join(SCHEMES)}, cuda:N"
        )
    return SCHEMES[scheme](name)
