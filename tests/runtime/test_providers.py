"""Devices' names, the providers behind them, and that nothing falls back in silence.

Azure's provider is in the CPU wheel and takes no node of an ordinary model: a real fallback.
What a GPU's provider would answer is made up, there being no GPU.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from edgedl import runtime
from edgedl.devices import open_device
from edgedl.runtime import providers
from edgedl.runtime.errors import DeviceError, UnknownDeviceError
from edgedl.runtime.placement import check_placement, placement_entries
from edgedl.runtime.providers import PROVIDERS, Provider, match_device, resolve_provider

AZURE = Provider("azure", "AzureExecutionProvider", "pip install nothing", "all")
with_azure = pytest.mark.skipif(
    AZURE.name not in ort.get_available_providers(), reason="this onnxruntime has no Azure"
)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose provider is there and takes no node."""
    monkeypatch.setattr(providers, "PROVIDERS", (*PROVIDERS, AZURE))


def test_onnxruntime_knows_every_provider_of_the_table() -> None:
    assert {p.name for p in PROVIDERS} <= set(ort.get_all_providers())
    assert len({p.device for p in PROVIDERS}) == len(PROVIDERS)


@pytest.mark.parametrize(
    ("device", "name", "options", "fallback"),
    [
        ("cpu", "CPUExecutionProvider", {}, "light"),
        ("cuda", "CUDAExecutionProvider", {"use_tf32": "0"}, "light"),
        ("cuda:1", "CUDAExecutionProvider", {"use_tf32": "0", "device_id": "1"}, "light"),
        ("cuda:0-only", "CUDAExecutionProvider", {"use_tf32": "0", "device_id": "0"}, "none"),
        ("tensorrt+cpu", "TensorrtExecutionProvider", {}, "any"),
        (
            "openvino:HETERO:GPU,CPU",
            "OpenVINOExecutionProvider",
            {"precision": "ACCURACY", "device_type": "HETERO:GPU,CPU"},
            "light",
        ),
        ("xnnpack-only", "XnnpackExecutionProvider", {}, "none"),
        ("directml:2", "DmlExecutionProvider", {"device_id": "2"}, "light"),
    ],
)
def test_a_devices_name_says_provider_options_and_fallback(
    device: str, name: str, options: dict[str, str], fallback: str
) -> None:
    target = match_device(device)
    assert (target.provider.name, target.options, target.fallback) == (name, options, fallback)
    assert open_device(device).name == device


@pytest.mark.parametrize(
    "device", ["tpu", "", "cpu+cpu", "cpu-only", "cuda:x", "cuda:", "coreml:1", "cuda+cpu-only"]
)
def test_any_other_name_is_wrong_usage_and_the_known_ones_are_told(device: str) -> None:
    with pytest.raises(UnknownDeviceError) as caught:
        match_device(device)
    assert "cuda[:N]" in caught.value.hint
    assert "openvino[:TYPE]" in caught.value.hint
    with pytest.raises(UnknownDeviceError):
        open_device(device)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.device)
def test_a_provider_that_is_not_there_comes_with_how_to_install_it(provider: Provider) -> None:
    if provider.name in ort.get_available_providers():
        assert resolve_provider(provider.device).provider == provider
        return
    with pytest.raises(DeviceError) as caught:
        resolve_provider(provider.device)
    assert provider.name in caught.value.message
    assert provider.systems in caught.value.message
    assert caught.value.hint == provider.install


def test_a_provider_with_threads_of_its_own_is_told_their_number() -> None:
    assert match_device("openvino").threads(3) == {"num_of_threads": "3"}
    assert match_device("cuda").threads(3) == {}


@with_azure
@pytest.mark.usefixtures("azure")
@pytest.mark.parametrize("device", ["azure", "azure-only"])
def test_a_provider_that_leaves_the_model_to_the_cpu_is_refused(
    classifier_bundle: Path, device: str
) -> None:
    with pytest.raises(DeviceError, match=r"leaves .* to the CPU") as caught:
        runtime.load(classifier_bundle, device=device)
    assert "--device azure+cpu allows it" in caught.value.hint
    assert "--placement" in caught.value.hint


@with_azure
@pytest.mark.usefixtures("azure")
def test_the_nodes_left_to_the_cpu_are_named(classifier_bundle: Path) -> None:
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("this onnxruntime doesn't tell which")
    with pytest.raises(DeviceError, match=r"leaves 1 node \((MatMul|Gemm).*\) to the CPU"):
        runtime.load(classifier_bundle, device="azure")


@with_azure
@pytest.mark.usefixtures("azure")
def test_a_fallback_that_is_allowed_runs(classifier_bundle: Path) -> None:
    with runtime.load(classifier_bundle, device="azure+cpu") as model:
        assert "AzureExecutionProvider" in model.session.get_providers()


class OnGpu:
    """A stand-in for a session on a GPU: nodes are where they are said to be."""

    def __init__(self, **nodes: str) -> None:
        self._nodes = nodes

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                ep_name=f"{provider.upper()}ExecutionProvider",
                get_nodes=lambda operator=operator: [
                    SimpleNamespace(op_type=operator, name=f"a_{operator}")
                ],
            )
            for operator, provider in self._nodes.items()
        ]


def test_shapes_on_the_cpu_are_no_fallback() -> None:
    check_placement(OnGpu(Conv="cuda", Shape="cpu", Gather="cpu"), match_device("cuda"))


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (OnGpu(Conv="cuda", LSTM="cpu"), r"leaves 1 node \(LSTM a_LSTM\) to the CPU"),
        (OnGpu(Relu="cpu"), "leaves every node to the CPU"),
    ],
)
def test_arithmetic_or_everything_on_the_cpu_is_one(session: OnGpu, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        check_placement(session, match_device("cuda:0"))
    check_placement(session, match_device("cuda:0+cpu"))


def test_an_onnxruntime_that_does_not_tell_may_let_nothing_fall_back() -> None:
    forbidden = {"session.disable_cpu_ep_fallback": "1"}
    assert placement_entries(match_device("cuda"), tells=False) == forbidden
    assert placement_entries(match_device("cuda-only"), tells=True) == forbidden
    assert placement_entries(match_device("cuda+cpu"), tells=False) == {}
    assert placement_entries(match_device("cpu"), tells=False) == {}
