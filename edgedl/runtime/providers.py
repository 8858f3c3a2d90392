"""Execution providers: the device names they serve, and how to come by them."""

from __future__ import annotations

import re

from msgspec import Struct

from edgedl.runtime.engine import ort
from edgedl.runtime.errors import DeviceError, UnknownDeviceError


class Provider(Struct, frozen=True):
    """An ONNX Runtime execution provider and how to come by it."""

    name: str
    install: str


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "pip install 'edgedl[cpu]'"),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "pip uninstall onnxruntime && pip install 'edgedl[gpu]', on a machine with an NVIDIA GPU",
    ),
}

_DEVICE = re.compile(r"(cpu|cuda(?::(?P<index>\d+))?)")


def resolve_provider(device: str) -> tuple[Provider, dict[str, str]]:
    """The provider for a device name and its settings.

    Raises:
        UnknownDeviceError: The name means nothing here.
        DeviceError: This onnxruntime has no such provider.
    """
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise UnknownDeviceError(f"unknown device {device!r}", "known devices: cpu, cuda[:N]")
    provider = PROVIDERS[device.partition(":")[0]]
    available = ort.get_available_providers()
    if provider.name not in available:
        raise DeviceError(
            f"device {device}: onnxruntime {ort.__version__} here has no {provider.name} "
            f"(it has {', '.join(available)})",
            provider.install,
        )
    index = match["index"]
    return provider, {} if index is None else {"device_id": index}
