"""Every error a person can act on, each with the cause and the next step.

The tree is raised where the fact is known and rendered in one place, the command
line's boundary. Some classes also inherit the built-in that a Python programmer
would catch (`FileNotFoundError`, `ValueError`, ...).
"""


def one_line(error: BaseException, most: int = 300) -> str:
    """What an exception says, on one line; its class where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class EdgedlError(Exception):
    """Something the person can act on.

    Args:
        message: One line that names the cause.
        hint: One line that names the next step; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class BundleError(EdgedlError):
    """A bundle that can't be read."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """A bundle, or a file in it, that isn't there."""


class IntegrityError(BundleError):
    """A file in a bundle whose content isn't what the manifest says."""


class SchemaError(BundleError):
    """A manifest that this version can't read, or that contradicts itself."""


class InputError(EdgedlError, ValueError):
    """Inputs that don't fit the model: names, dtypes, shapes or values."""


class DeviceError(EdgedlError):
    """A device, or the provider it needs, that can't be had."""


class UnknownDeviceError(DeviceError, ValueError):
    """A device name that means nothing here: wrong usage, not a missing part."""

    exit_code = 2


class EngineError(EdgedlError, RuntimeError):
    """A failure inside ONNX Runtime, loading or running a variant."""


class QueueFullError(EdgedlError, RuntimeError):
    """As many requests wait as may: the model is slower than they come in."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"the queue is full: {waiting} requests wait already",
            "ask again later, or raise max_batch, or max_queue if they may wait longer",
        )


class MissingExtraError(EdgedlError, ImportError):
    """An optional dependency that isn't installed."""

    def __init__(self, needs: str, extra: str) -> None:
        super().__init__(f"{needs} is not installed", f"pip install 'edgedl[{extra}]'")


class WorkerError(DeviceError, RuntimeError):
    """A worker process that died or answered with something unreadable."""


class ParityError(EdgedlError):
    """Outputs that left their tolerance, or an accuracy budget that was exceeded."""

    exit_code = 3
