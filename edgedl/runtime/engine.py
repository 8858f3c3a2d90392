"""onnxruntime, or the error that says how to install it, and what it raises."""

from __future__ import annotations

from edgedl.runtime.errors import MissingExtraError

try:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError as error:
    raise MissingExtraError(f"onnxruntime ({error})", "cpu") from error

__all__ = ["ENGINE_ERRORS", "ort"]

# Its classes share no base of their own but RuntimeError and Exception.
ENGINE_ERRORS: tuple[type[Exception], ...] = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    state.EPFail,
    RuntimeError,
)
