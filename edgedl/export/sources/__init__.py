"""Sources: trained models and their frameworks. One file per framework, one line here."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgedl.export.errors import SourceError
from edgedl.export.interface import DynamicAxis, Interface
from edgedl.export.quiet import quiet
from edgedl.runtime.errors import one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.imports import import_file, put_on_path
from edgedl.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx


KERAS_FILES = (".keras", ".h5", ".hdf5")
# Files that torch.save or torch.jit.save wrote: weights, or code that loading would run.
PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".jit", ".torchscript")


@dataclass(frozen=True)
class Conversion:
    """One way from a framework to ONNX.

    `convert` takes the interface, one example call's inputs and the opset (None: its own
    choice), and returns a model whose inputs and outputs are in the interface's order; it
    raises ConversionError where this way can't go.
    """

    name: str
    why: str
    convert: Callable[[Interface, Arrays, int | None], onnx.ModelProto]


class Source(Protocol):
    """A trained model. What differs between frameworks, and nothing else."""

    @property
    def framework(self) -> str:
        """The framework's name."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions belong in the manifest."""
        ...

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The inputs; a framework that doesn't know their shapes reads them off samples."""
        ...

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The framework's own outputs: their names and values, in order."""
        ...

    def conversions(self) -> tuple[Conversion, ...]:
        """Ways to ONNX, the most promising first."""
        ...


@runtime_checkable
class KnowsSizes(Protocol):
    """A source that knows its dynamic axes' sizes, by name, without samples."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Each dynamic axis at a size that it runs."""
        ...


def open_source(source: str, weights: Path | None = None) -> Source:
    """Load a trained model.

    Args:
        source: A `.keras` (or legacy `.h5`), `.onnx` or `.pt2` file, a SavedModel directory,
            or `file.py:factory` or `package.module:factory`, a callable that returns a
            Keras model or a torch module.
        weights: For a factory: a file loaded with `weights_only=True`; see
            `edgedl.export.sources.torch`.

    Raises:
        SourceError: It can't be read, or isn't what its name says.
        MissingExtraError: The framework isn't installed.
    """
    path = Path(source)
    is_folder = bool(source) and path.is_dir()
    if weights is not None and (is_folder or path.suffix in (*KERAS_FILES, ".onnx", ".pt2")):
        raise SourceError(
            f"--weights goes with a factory; {source} holds its own", "leave out --weights"
        )
    if path.suffix in KERAS_FILES:
        from edgedl.export.sources.keras import open_keras

        return open_keras(path)
    if path.suffix == ".onnx":
        from edgedl.export.sources.onnx import open_onnx

        return open_onnx(path)
    if path.suffix == ".pt2":
        from edgedl.export.sources.torch_program import open_program

        return open_program(path)
    if is_folder:
        from edgedl.export.sources.savedmodel import open_savedmodel

        return open_savedmodel(path)
    if ":" in source:
        return _from_factory(source, weights)
    if path.suffix in PICKLED:
        from edgedl.export.sources.torch_files import refusal

        raise refusal(path)
    what = "another file" if source and path.exists() else "not there"
    raise SourceError(
        f"{source} is not a source: it is {what}",
        "give a .keras, .pt2 or .onnx file, a SavedModel directory, file.py:factory or "
        "package.module:factory",
    )


def _from_factory(source: str, weights: Path | None) -> Source:
    # Before a factory's file may import TensorFlow, which reads it once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    factory = load_factory(source)
    if weights is not None:
        from edgedl.export.sources.torch import build_torch

        return build_torch(factory, source, weights)
    if required_parameters(factory):
        raise SourceError(f"{source} needs an argument", "give its file with --weights FILE")
    model = call_factory(factory, source)
    if _is_made_by(model, "keras"):
        from edgedl.export.sources.keras import KerasSource

        return KerasSource(model)
    if _is_made_by(model, "torch"):
        from edgedl.export.sources.torch import TorchSource

        return TorchSource(model)
    raise SourceError(
        f"{source} returned a {type(model).__name__}",
        "a factory returns a Keras model or a torch nn.Module",
    )


def _is_made_by(model: object, framework: str) -> bool:
    """Whether a class of that framework is among the model's classes; imports nothing."""
    return any(c.__module__.split(".")[0] == framework for c in type(model).__mro__)


def required_parameters(factory: Callable[..., Any]) -> list[str]:
    """The positional parameters without a default."""
    return [
        name
        for name, p in inspect.signature(factory).parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def load_factory(source: str) -> Callable[..., Any]:
    """Import `file.py:factory` or `package.module:factory`."""
    where, _, name = source.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise SourceError(f"{where} has no callable {name!r}", "give file.py:factory")
    found: Callable[..., Any] = factory
    return found


def call_factory(factory: Callable[..., Any], source: str, *args: object) -> Any:
    """Call a user's factory; whatever it raises becomes one line."""
    try:
        with quiet():
            return factory(*args)
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{source} raised {type(error).__name__}: {one_line(error)}",
            "call it in Python to see where",
        ) from error


def describe_arrays(arrays: Arrays) -> str:
    """Names, dtypes and shapes in a line."""
    return ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in arrays.items())


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise SourceError(f"{path} is missing", "give file.py:factory")
    return call_factory(import_file, str(path), path)


def _import_module(name: str) -> Any:
    put_on_path(Path.cwd())
    return call_factory(importlib.import_module, name, name)
