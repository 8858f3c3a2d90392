"""The target: what the CPU that a bundle is made for can do."""

from __future__ import annotations

from dataclasses import dataclass

from edgedl.devices import open_device
from edgedl.runtime.errors import WorkerError
from edgedl.runtime.host import Host
from edgedl.runtime.protocol import Failure, HostAnswer, HostRequest

# Products of unsigned and signed bytes that are added up in 32 bits. Without one of these an
# x86 CPU adds pairs in 16 bits (VPMADDUBSW), which saturate where weights use all 8 bits.
DOT_PRODUCTS = ("avx_vnni", "avx512_vnni", "amx_int8")


@dataclass(frozen=True)
class Target:
    """A CPU to make variants for; `device` empty means any.

    `features` are names as in /proc/cpuinfo; see `edgedl.runtime.host`. `host` is the whole
    machine, where it was asked.
    """

    device: str = ""
    machine: str = ""
    features: tuple[str, ...] = ()
    host: Host | None = None

    @property
    def saturates(self) -> bool:
        """Whether full-range u8 x s8 products may saturate there; so on any unknown CPU."""
        if self.arm:
            return False
        return not any(feature in self.features for feature in DOT_PRODUCTS)

    @property
    def arm(self) -> bool:
        """Whether it is a 64-bit ARM CPU."""
        return self.machine in ("aarch64", "arm64")

    @property
    def signed_activations(self) -> bool:
        """Whether static activations are int8: so on ARM, uint8 elsewhere.

        ARM's dot products multiply bytes of one sign (SDOT, UDOT): ONNX Runtime has a kernel
        for s8 x s8, and flips the sign of one side for u8 x s8 (microsoft/onnxruntime#9902).
        x86's multiply unsigned by signed bytes (VPMADDUBSW, VPDPBUSD).
        """
        return self.arm

    @property
    def weights(self) -> str:
        """The type of weights in integer products: `int8`, in 7 bits where 8 saturate."""
        return "int8, 7 bits" if self.saturates else "int8"


def find_target(device: str | None) -> Target:
    """What the device's CPU can do, as its own worker tells; any CPU for None.

    Raises:
        UnknownDeviceError: The name means nothing.
        EdgedlError: The device, or the provider it needs, can't be had.
    """
    if device is None:
        return Target()
    answer = open_device(device).run(HostRequest(device))
    if isinstance(answer, Failure):
        raise answer.error()
    if not isinstance(answer, HostAnswer):
        raise WorkerError(f"the worker on {device} answered another question")
    return Target(device, answer.host.machine, answer.host.features, answer.host)
