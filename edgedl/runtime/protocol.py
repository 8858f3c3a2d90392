"""What is asked of a worker and what it answers: one JSON line each."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgedl.runtime.errors import EdgedlError
from edgedl.runtime.health import Report
from edgedl.runtime.host import Host
from edgedl.runtime.manifest import OutputParity, Quality, Tolerance
from edgedl.runtime.settings import Settings

Mode = Literal["model", "run", "app"]
MODES: tuple[Mode, ...] = ("model", "run", "app")


class OpenLoop(Struct, frozen=True):
    """Requests that come at a rate, whether or not the one before is done.

    `rate` is requests per second: at even distances, or as a Poisson process drawn from
    `seed`. A request that isn't answered `deadline_s` after it was due is missed; the mean
    distance between two for None.
    """

    rate: float
    arrivals: Literal["fixed", "poisson"] = "fixed"
    deadline_s: float | None = None
    seed: int = 0

    @property
    def deadline_ns(self) -> int:
        """Nanoseconds from due to missed."""
        return round(1e9 * (1 / self.rate if self.deadline_s is None else self.deadline_s))


class Case(Struct, frozen=True, tag="measure", tag_field="request"):
    """One planned launch.

    `sizes` are the dynamic axes' sizes; one that is not given has the least of the golden
    vectors, which is 1 unless the source itself can't run that. `subject` is
    `file.py:factory`, something else to measure on the same inputs (a framework, say):
    `factory(inputs, threads, *subject_args)` returns a callable without arguments
    whose result is a dict of arrays or None. `tolerance` is what its answer is held to,
    the variant's own for None. Durations are in seconds.

    `mode` is what a variant's sample times: `model` the bound call (a stateful model's step),
    `run` `Model.run` on the same inputs, `app` the task with what is before and after the
    model. `open_loop` has requests come at a rate, one after the other for None.
    `sustained_s` is how long to go on, where the course of time is wanted.
    """

    bundle: str
    variant: str
    device: str = "cpu"
    threads: int | None = None
    spinning: bool | None = None
    arena: bool | None = None
    sizes: dict[str, int] = {}
    subject: str = ""
    subject_args: tuple[str, ...] = ()
    label: str = ""
    tolerance: Tolerance | None = None
    warmup_s: float = 0.1
    least_s: float = 0.5
    least_count: int = 20
    most_s: float = 20.0
    mode: Mode = "model"
    open_loop: OpenLoop | None = None
    sustained_s: float | None = None

    @property
    def name(self) -> str:
        """What is measured, as a row of a table calls it."""
        return self.label or self.variant


class Served(Struct, frozen=True):
    """How an open loop went; its samples are latencies, counted from when a request was due.

    `requests` were planned, `missed` of them not answered by their deadline. `unserved` are
    those that weren't even begun when the time was over: missed too, and no samples.
    `seconds` is from the first one due to the last one done, or to when the next one would
    have been due; `busy_s` the part of it in which a request was being answered.
    """

    requests: int
    missed: int
    unserved: int
    seconds: float
    busy_s: float

    @property
    def served(self) -> int:
        """Requests that were answered, late ones too."""
        return self.requests - self.unserved

    def load(self, rate: float) -> float:
        """The mean answering time in distances between requests: over 1 the queue grows."""
        return self.busy_s / self.served * rate if self.served else float("inf")


class Window(Struct, frozen=True):
    """About a second of a sustained run. `start_s` counts from its beginning.

    `khz` is the clock of the fastest CPU and `celsius` the highest temperature that health
    saw in it; None where nothing told.
    """

    start_s: float
    runs: int
    p50_ns: int
    p99_ns: int
    max_ns: int
    khz: int | None = None
    celsius: float | None = None


class Sustained(Struct, frozen=True):
    """The course of a sustained run: all `runs` are in the windows.

    The measurement's samples are a random part of them, every run with the same chance.
    """

    runs: int
    windows: tuple[Window, ...]


class Measurement(Struct, frozen=True, tag="measurement", tag_field="answer"):
    """One launch of a case. Times are in nanoseconds, memory in bytes.

    `import_ns` is importing NumPy, the engine and the runtime, from the worker's first line on.
    `load_ns` is opening and verifying the bundle and creating the session, its files evicted
    from the page cache before (`still_cached` says why they may not have been), or the
    subject's factory, its framework's import included; `warm_load_ns` is the same once more in
    the same process after everything else, None for a subject. `first_run_ns` is the first
    inference, `samples_ns` each inference after warm-up, raw. `peak_resident` is the
    process's peak when the last sample was taken, `empty_resident` its peak before it had
    imported anything; None where the system doesn't tell.
    `settings` are what the session was opened with, None for a subject, and `providers` the
    options of its execution providers in order of preference. `health` is the
    machine's from before warm-up to after the last sample. `served` is there where the case
    has an open loop, `sustained` where it is a sustained one.
    """

    case: Case
    host: Host
    import_ns: int
    load_ns: int
    first_run_ns: int
    samples_ns: tuple[int, ...]
    peak_resident: int | None
    settings: Settings | None = None
    providers: dict[str, dict[str, str]] = {}
    parity: tuple[OutputParity, ...] = ()
    warm_load_ns: int | None = None
    still_cached: str = ""
    empty_resident: int | None = None
    health: Report | None = None
    served: Served | None = None
    sustained: Sustained | None = None

    @property
    def memory(self) -> int | None:
        """Bytes the case added to an empty process, at its peak."""
        if self.peak_resident is None or self.empty_resident is None:
            return None
        return self.peak_resident - self.empty_resident


class ParityRequest(Struct, frozen=True, tag="parity", tag_field="request"):
    """Verify a bundle's files and compare variants with the golden vectors."""

    bundle: str
    variants: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None


class VariantParity(Struct, frozen=True):
    """One variant's verdict on this device."""

    variant: str
    passed: bool
    outputs: tuple[OutputParity, ...]
    quality: Quality | None
    reasons: tuple[str, ...]


class ParityAnswer(Struct, frozen=True, tag="parity", tag_field="answer"):
    """Every requested variant's verdict."""

    bundle: str
    device: str
    host: Host
    variants: tuple[VariantParity, ...]


class HostRequest(Struct, frozen=True, tag="host", tag_field="request"):
    """Tell what machine this is, if it can serve the device."""

    device: str = "cpu"


class HostAnswer(Struct, frozen=True, tag="host", tag_field="answer"):
    """The machine the worker runs on; it has the provider that the device needs."""

    device: str
    host: Host


class ProfileRequest(Struct, frozen=True, tag="profile", tag_field="request"):
    """Tell where a case's time goes, node by node, and what the machine could do at most."""

    case: Case


class NodeProfile(Struct, frozen=True):
    """One node of the graph that ONNX Runtime runs, after its own fusions; all per run.

    `traced_ns` is what the trace says, its own overhead included. `parameter_bytes` are the
    constants it reads, `reread_bytes` those that the further steps of a recurrent layer read
    again, `moved_bytes` activations it reads and writes; of an operator that only looks at its
    input anew, none. `operations` are counted from shapes
    (`edgedl.runtime.operations`), None where they aren't, and `arithmetic` says whose peak
    bounds them. None is unknown.
    """

    name: str
    operator: str
    provider: str
    calls: float
    traced_ns: float
    parameter_bytes: int | None
    moved_bytes: int
    operations: int | None = None
    arithmetic: str = ""
    reread_bytes: int = 0


class Limits(Struct, frozen=True):
    """What the machine does at most, as measured with `threads` threads; per second.

    `near` are bytes read from a buffer that stays in the nearest cache, `weights` from one of
    `weights_bytes`, `memory` from one of `memory_bytes`, past most caches. `float32` and
    `int8` are operations of ONNX Runtime's own matrix products.
    """

    threads: int
    weights_bytes: int
    memory_bytes: int
    near: float
    weights: float
    memory: float
    float32: float
    int8: float


class Profile(Struct, frozen=True, tag="profile", tag_field="answer"):
    """Where one case's time goes.

    `median_ns` is a run without tracing, in the same process, blocks of both in turn. `limits`
    are None on another device than the CPU, whose trace tells launches.
    """

    case: Case
    host: Host
    settings: Settings
    runs: int
    median_ns: float
    nodes: tuple[NodeProfile, ...]
    limits: Limits | None


class PlacementRequest(Struct, frozen=True, tag="placement", tag_field="request"):
    """Tell which node of each variant runs on which provider."""

    bundle: str
    variants: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None


class PlacedNode(Struct, frozen=True):
    """A node of the graph that ONNX Runtime runs, and where."""

    name: str
    operator: str
    provider: str


class VariantPlacement(Struct, frozen=True):
    """One variant's nodes in the order they run."""

    variant: str
    nodes: tuple[PlacedNode, ...]


class PlacementAnswer(Struct, frozen=True, tag="placement", tag_field="answer"):
    """Every requested variant's nodes."""

    bundle: str
    device: str
    host: Host
    variants: tuple[VariantPlacement, ...]


class Failure(Struct, frozen=True, tag="failure", tag_field="answer"):
    """An error the person can act on."""

    message: str
    hint: str
    exit_code: int

    def error(self, prefix: str = "") -> EdgedlError:
        """The error as the worker raised it, to end with the same exit code."""
        error = EdgedlError(prefix + self.message, self.hint)
        error.exit_code = self.exit_code
        return error


Request = Case | ParityRequest | HostRequest | ProfileRequest | PlacementRequest
Answer = Measurement | ParityAnswer | HostAnswer | Profile | PlacementAnswer | Failure
