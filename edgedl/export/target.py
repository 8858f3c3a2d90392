"""The target: what the CPU that a bundle is made for can do."""

from __future__ import annotations

from dataclasses import dataclass

from edgedl.runtime.host import describe_host

# Products of unsigned and signed bytes that are added up in 32 bits. Without one of these an
# x86 CPU adds pairs in 16 bits (VPMADDUBSW), which saturate where weights use all 8 bits.
DOT_PRODUCTS = ("avx_vnni", "avx512_vnni", "amx_int8")


@dataclass(frozen=True)
class Target:
    """A CPU to make variants for; `device` empty means any.

    `features` are names as in /proc/cpuinfo; see `edgedl.runtime.host`.
    """

    device: str = ""
    machine: str = ""
    features: tuple[str, ...] = ()

    @property
    def saturates(self) -> bool:
        """Whether full-range u8 x s8 products may saturate there; so on any unknown CPU."""
        if self.machine in ("aarch64", "arm64"):
            return False
        return not any(feature in self.features for feature in DOT_PRODUCTS)


def find_target(device: str | None) -> Target:
    """What the device's CPU can do; any CPU for None."""
    if device is None:
        return Target()
    host = describe_host()
    return Target(device, host.machine, host.features)
