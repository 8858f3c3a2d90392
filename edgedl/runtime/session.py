"""A loaded variant: device and provider choice, named arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgedl.runtime.bound import Call, allocate
from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.engine import ENGINE_ERRORS, ort
from edgedl.runtime.errors import EngineError, InputError, one_line
from edgedl.runtime.manifest import Manifest, TensorSpec, Variant
from edgedl.runtime.placement import check_placement, fallback_refused, placement_entries
from edgedl.runtime.providers import resolve_provider
from edgedl.runtime.settings import Settings
from edgedl.runtime.tuned import read_tuned

if TYPE_CHECKING:
    from edgedl.runtime.classifier import Classifier
    from edgedl.runtime.golden import Array, Arrays
    from edgedl.runtime.stream import Stream
    from edgedl.runtime.text import TextGenerator


def load(
    path: str | Path,
    variant: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    spinning: bool | None = None,
    arena: bool | None = None,
    tuned: bool = True,
) -> Model:
    """Load a variant of a bundle, its hash verified, ready to run.

    Args:
        path: The bundle's directory.
        variant: A variant's name.
        device: `cpu`, `cuda[:N]` or another of docs/devices.md.
        threads: Threads within an operator.
        spinning: Whether idle threads burn their core while they wait.
        arena: Whether freed memory is kept for the next run.
        tuned: What is None is as `edgedl bench --tune` found best on this machine, where it
            has been run and `variant` is not another. False, and without that: the
            bundle's default variant, all CPUs this process may use, no spinning, an arena.

    Raises:
        BundleError: The bundle is missing, damaged or of a newer schema.
        DeviceError: The device, or its provider, can't be had; never a silent fallback.
        EngineError: ONNX Runtime refuses the variant.

    >>> model = load("digits.bundle")                               # doctest: +SKIP
    >>> model.run(image=image)["probabilities"]                     # doctest: +SKIP
    """
    bundle = open_bundle(path)
    settings = Settings(threads, spinning, arena)
    found = read_tuned(bundle, device)[0] if tuned else None
    if found is not None and variant in (None, found.variant):
        variant, settings = found.variant, settings.over(found.settings)
    return Model(bundle, bundle.manifest.variant(variant), device, settings)


class Model:
    """A loaded variant; see `load`.

    `run` may be called from several threads at once, and so may `bind` and `stream`; what those
    two return belongs to one thread. `close` frees the engine's memory once no call and
    no stream of the model is left.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        device: str = "cpu",
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ) -> None:
        self.bundle = bundle
        self.variant = variant
        self.device = device
        self.settings = settings.resolved()
        where = str(bundle.path / variant.file)
        self.session = bundle.read_into(
            variant, lambda content: open_session(content, device, self.settings, where)
        )
        self.output_names = [t.name for t in self.manifest.outputs]
        self._state_inputs = frozenset(pair.input for pair in self.manifest.state)
        self._check_signature()

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs' names, dtypes and shapes."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs' names, dtypes and shapes."""
        return self.manifest.outputs

    def run(self, **inputs: Array) -> Arrays:
        """Run the model once: for convenience. `bind` is for loops, and some microseconds faster.

        Args:
            inputs: One array per input, by name, of the dtype and shape in `inputs`.
                State inputs may be left out: they start at zero.

        Returns:
            One new array per output, by name.

        Raises:
            InputError: A name, dtype or shape that doesn't fit, with what was expected.
            EngineError: ONNX Runtime failed.
        """
        return self.run_feeds(inputs)

    def run_feeds(self, feeds: Arrays) -> Arrays:
        """`run`, with the inputs in one dict."""
        sizes = check_inputs(self.inputs, feeds, optional=self._state_inputs)
        if len(feeds) < len(self.inputs):
            feeds = {**self.zero_state(sizes), **feeds}
        try:
            values = self.session.run(self.output_names, feeds)
        except EngineError:
            raise  # the model is closed
        except ENGINE_ERRORS as error:
            raise EngineError(f"{self.variant.file} failed to run: {one_line(error)}") from error
        return dict(zip(self.output_names, values, strict=True))

    def zero_state(self, sizes: dict[str, int]) -> Arrays:
        """Zeros for every state input, dynamic axes taken from `sizes`."""
        return allocate([t for t in self.inputs if t.name in self._state_inputs], sizes)

    def bind(self, **sizes: int) -> Call:
        """A call for loops: inputs and outputs in buffers of its own, bound once.

        >>> call = model.bind(batch=1)                              # doctest: +SKIP
        >>> call.inputs["image"][...] = image                       # doctest: +SKIP
        >>> call()["probabilities"]    # overwritten by the next    # doctest: +SKIP

        Args:
            sizes: Sizes of the dynamic axes; 1 where not given.
        """
        return Call(self, sizes)

    def stream(self, **sizes: int) -> Stream:
        """A stateful run, its state kept from step to step; sizes are 1 unless given."""
        from edgedl.runtime.stream import Stream

        return Stream(self, sizes)

    def classifier(self) -> Classifier:
        """This model as an image classifier, if that is its task."""
        from edgedl.runtime.classifier import Classifier

        return Classifier(self)

    def generator(self) -> TextGenerator:
        """This model as a text generator, if that is its task."""
        from edgedl.runtime.text import TextGenerator

        return TextGenerator(self)

    def close(self) -> None:
        """Release the session; the model can't be run afterwards."""
        self.session = _Closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_signature(self) -> None:
        """The file and the manifest must speak of the same tensors."""
        for kind, specs, found in (
            ("input", self.inputs, [i.name for i in self.session.get_inputs()]),
            ("output", self.outputs, [o.name for o in self.session.get_outputs()]),
        ):
            if [s.name for s in specs] != found:
                raise EngineError(
                    f"{self.variant.file} has the {kind}s {', '.join(found)}; "
                    f"the manifest says {', '.join(s.name for s in specs)}",
                    "export the bundle again",
                )


class _Closed:
    """What a closed model holds in its session's place."""

    def __getattr__(self, name: str) -> Any:
        raise EngineError("the model is closed", "load it again")


def open_session(
    content: bytes,
    device: str,
    settings: Settings,
    where: str,
    entries: Mapping[str, str] = MappingProxyType({}),
    trace: str = "",
) -> Any:
    """An InferenceSession on exactly the provider asked for.

    Args:
        content: The .onnx file's bytes.
        device: `cpu`, `cuda[:N]` or another of the providers' table.
        settings: Threads, spinning and arena; None takes the default.
        where: The file to name in errors.
        entries: More session configuration, by ONNX Runtime's own keys.
        trace: What the file that its profiler writes begins with; empty for no profiler.
    """
    target = resolve_provider(device)
    settings = settings.resolved()
    options = _session_options(settings)
    provider = {**target.options, **target.threads(settings.threads)}
    tells = hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")
    for key, value in {**placement_entries(target, tells), **entries}.items():
        options.add_session_config_entry(key, value)
    if trace:
        options.enable_profiling = True
        options.profile_file_prefix = trace
    try:
        session = ort.InferenceSession(
            content,
            options,
            providers=[(target.provider.name, provider)],
            enable_fallback=False,
        )
    except ENGINE_ERRORS as error:
        refused = fallback_refused(error, target)
        if refused is not None:
            raise refused from None
        raise EngineError(
            f"onnxruntime {ort.__version__} can't load {where}: {one_line(error)}",
            "a newer onnxruntime may be needed: `edgedl inspect` names the least version",
        ) from error
    check_placement(session, target)
    return session


def _session_options(settings: Settings) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.enable_cpu_mem_arena = settings.arena
    spin = "1" if settings.spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    options.log_severity_level = 4  # what goes wrong is raised; nothing is printed as well
    return options


def check_inputs(
    specs: Sequence[TensorSpec], feeds: Arrays, optional: frozenset[str] = frozenset()
) -> dict[str, int]:
    """Check names, dtypes and shapes; one named axis has one size everywhere.

    Returns:
        The size of every named axis that the feeds fix.
    """
    sizes: dict[str, int] = {}
    given = 0
    for spec in specs:
        array = feeds.get(spec.name)
        if array is None:
            if spec.name not in optional:
                _refuse(specs, f"input {spec.name!r} is missing")
            continue
        given += 1
        if type(array) is not np.ndarray and (
            not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray)
        ):
            _refuse(specs, f"input {spec.name!r} is a {type(array).__name__}, not a NumPy array")
        if array.dtype != spec.dtype:
            _refuse(specs, f"input {spec.name!r} has dtype {array.dtype}, not {spec.dtype}")
        if len(array.shape) != len(spec.shape):
            _refuse(specs, f"input {spec.name!r} has shape {list(array.shape)}")
        for size, dim in zip(array.shape, spec.shape, strict=True):
            wanted = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
            if size != wanted:
                _refuse(specs, f"input {spec.name!r} has shape {list(array.shape)}", sizes)
    if given < len(feeds):
        unknown = sorted(feeds.keys() - {spec.name for spec in specs})
        _refuse(specs, f"there is no input {unknown[0]!r}")
    return sizes


def _refuse(specs: Sequence[TensorSpec], problem: str, sizes: dict[str, int] | None = None) -> None:
    fixed = "".join(f", {axis} = {size}" for axis, size in (sizes or {}).items())
    expected = "; ".join(str(spec) for spec in specs)
    raise InputError(problem, f"expected {expected}{fixed}")
