"""Execution providers: the device names they serve, and how to come by them.

The table is all there is to know of a provider; a new one is one more row. What was run for
real and what only follows its documentation: docs/devices.md.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from edgedl.runtime.errors import DeviceError, UnknownDeviceError

CPU = "CPUExecutionProvider"
_NUMBER = r"\d+"
_X64 = "Linux and Windows on x86-64"


class Provider(Struct, frozen=True):
    """An ONNX Runtime execution provider and how to come by it.

    `device` is its name here and `name` ONNX Runtime's; `install` says how to come by it, on
    the `systems` it exists for. `part` is the pattern of what may follow the device's name and
    a colon, shown as `part_shown` and given to the provider as its `part_option`. `options`
    are given always, and `threads_option` is where a provider with threads of its own takes
    their number.
    """

    device: str
    name: str
    install: str
    systems: str
    part: str = ""
    part_shown: str = ""
    part_option: str = ""
    options: dict[str, str] = {}
    threads_option: str = ""

    @property
    def shown(self) -> str:
        """What its device names look like."""
        return f"{self.device}[:{self.part_shown}]" if self.part else self.device

    @property
    def pattern(self) -> re.Pattern[str]:
        """Its device names, what may fall back to the CPU included."""
        part = f"(?::(?P<part>{self.part}))?" if self.part else ""
        fallback = "" if self.name == CPU else r"(?P<fallback>\+cpu|-only)?"
        return re.compile(f"{self.device}{part}{fallback}")


# Options: a float32 model is computed in float32. NVIDIA's TensorFloat-32 would round products
# to 10 bits of mantissa and OpenVINO would halve the precision on a GPU, and the golden vectors
# would then be held against another arithmetic.
PROVIDERS = (
    Provider("cpu", CPU, "pip install 'edgedl[cpu]'", "all"),
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        "pip uninstall onnxruntime && pip install 'edgedl[gpu]', on a machine with an NVIDIA GPU",
        _X64,
        _NUMBER,
        "N",
        "device_id",
        {"use_tf32": "0"},
    ),
    Provider(
        "tensorrt",
        "TensorrtExecutionProvider",
        "pip uninstall onnxruntime && pip install 'edgedl[gpu]' tensorrt, "
        "on a machine with an NVIDIA GPU",
        _X64,
        _NUMBER,
        "N",
        "device_id",
    ),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "pip uninstall onnxruntime && pip install onnxruntime-openvino openvino",
        _X64,
        "[A-Z][A-Z0-9_.:,]*",
        "TYPE",
        "device_type",
        {"precision": "ACCURACY"},
        "num_of_threads",
    ),
    Provider(
        "migraphx",
        "MIGraphXExecutionProvider",
        "pip uninstall onnxruntime && pip install onnxruntime-migraphx, "
        "on a machine with an AMD GPU and ROCm",
        "Linux on x86-64",
        _NUMBER,
        "N",
        "device_id",
    ),
    Provider(
        "directml",
        "DmlExecutionProvider",
        "pip uninstall onnxruntime && pip install onnxruntime-directml, on Windows",
        "Windows",
        _NUMBER,
        "N",
        "device_id",
    ),
    Provider(
        "coreml",
        "CoreMLExecutionProvider",
        "pip install onnxruntime, on macOS: its wheel there has it",
        "macOS",
    ),
    Provider(
        "qnn",
        "QNNExecutionProvider",
        "pip uninstall onnxruntime && pip install 'onnxruntime-qnn<2', "
        "on a machine with a Snapdragon processor",
        "Windows on ARM64",
        options={"backend_path": "QnnHtp.dll"},
    ),
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        "pip uninstall onnxruntime && pip install onnxruntime-webgpu",
        "Linux, Windows and macOS",
    ),
    Provider(
        "xnnpack",
        "XnnpackExecutionProvider",
        "no wheel has it: build onnxruntime from source with "
        "`./build.sh --config Release --build_wheel --use_xnnpack`",
        "Linux, Windows, Android, iOS",
        threads_option="intra_op_num_threads",
    ),
    Provider(
        "dnnl",
        "DnnlExecutionProvider",
        "no wheel has it: build onnxruntime from source with "
        "`./build.sh --config Release --build_wheel --use_dnnl`",
        _X64,
    ),
    Provider(
        "cann",
        "CANNExecutionProvider",
        "pip uninstall onnxruntime && pip install onnxruntime-cann, "
        "on a machine with an Ascend processor",
        "Linux",
        _NUMBER,
        "N",
        "device_id",
    ),
)

Fallback = Literal["light", "any", "none"]


class Target(Struct, frozen=True):
    """The provider that a device name asks for, its options, and what may fall back.

    `fallback` says which nodes the CPU may take where the provider doesn't: `light` those
    without arithmetic to speak of (shapes, copies), `any` all of them (`cuda+cpu`), `none`
    not one (`cuda-only`).
    """

    device: str
    provider: Provider
    options: dict[str, str]
    fallback: Fallback

    def threads(self, count: int | None) -> dict[str, str]:
        """The option that gives a provider its number of threads, where it has its own."""
        option = self.provider.threads_option
        return {option: str(count)} if option and count else {}


_FALLBACKS: dict[str | None, Fallback] = {None: "light", "+cpu": "any", "-only": "none"}


def match_device(device: str) -> Target:
    """What a device name asks for, whether this machine has it or not.

    Raises:
        UnknownDeviceError: The name means nothing here.
    """
    for provider in PROVIDERS:
        match = provider.pattern.fullmatch(device)
        if match is not None:
            found = match.groupdict()
            part = {provider.part_option: found["part"]} if found.get("part") else {}
            options = {**provider.options, **part}
            return Target(device, provider, options, _FALLBACKS[found.get("fallback")])
    known = ", ".join(provider.shown for provider in PROVIDERS)
    raise UnknownDeviceError(f"unknown device {device!r}", f"known devices: {known}")


def resolve_provider(device: str) -> Target:
    """The provider for a device name and its settings, which this onnxruntime has.

    Raises:
        UnknownDeviceError: The name means nothing here.
        DeviceError: This onnxruntime has no such provider.
    """
    from edgedl.runtime.engine import ort

    target = match_device(device)
    available = ort.get_available_providers()
    if target.provider.name not in available:
        raise DeviceError(
            f"device {device}: onnxruntime {ort.__version__} here has no {target.provider.name} "
            f"(it has {', '.join(available)}; it exists for {target.provider.systems})",
            target.provider.install,
        )
    return target


def short_name(provider: str) -> str:
    """ONNX Runtime's name of a provider without the words that all share."""
    return provider.removesuffix("ExecutionProvider")
