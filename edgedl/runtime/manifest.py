"""What a manifest says: frozen types, every other fact derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgedl.runtime.errors import BundleError
from edgedl.runtime.host import Host

UNSEALED = "0" * 64

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\Z", max_length=120)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Dimension = Annotated[int, Meta(ge=0)] | Name
Count = Annotated[int, Meta(ge=0)]


class TensorSpec(Struct, frozen=True):
    """A tensor's name, NumPy dtype name and shape; dynamic axes are strings."""

    name: Name
    dtype: Name
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(d) for d in self.shape)}]"


def dynamic_axes(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The names of the tensors' dynamic axes, in order of appearance."""
    return tuple(dict.fromkeys(d for t in specs for d in t.shape if isinstance(d, str)))


class StatePair(Struct, frozen=True):
    """An output that is fed back to an input at the next step."""

    input: Name
    output: Name


class Tolerance(Struct, frozen=True):
    """How far a variant may be from the source framework.

    A float variant is held element by element: |a - b| <= atol + rtol * |b|, with b
    the source's value. A quantised one can't be; it is held to a least
    signal-to-quantisation-noise ratio in dB and to a largest loss of quality (or,
    without labels, of top-1 agreement) in percent. It may choose another class than the
    source only where the source's own margin is at most `flip_margin`, a share of the
    spread of its scores (see `edgedl.runtime.flips`).
    """

    atol: float | None = None
    rtol: float | None = None
    min_sqnr_db: float | None = None
    max_drop: float | None = None
    flip_margin: float | None = None

    @property
    def element_wise(self) -> bool:
        """Whether every element is held to its own magnitude."""
        return self.atol is not None or self.rtol is not None


class OutputParity(Struct, frozen=True):
    """One output compared with the golden vectors: the worst errors of any case.

    `sqnr_db`, `cosine` and `top1` are over all cases together. `sqnr_db` is None where there is no
    noise to divide by: the values are equal. `top1` is the share of
    positions whose largest element is the same, None where an output has no such meaning.
    `flips` are the others (of whole numbers, the values that differ), `clear_flips` those
    over the tolerance's bound, `worst_flip` the largest margin that flipped.

    `least_multiple` is what the element-wise tolerance would have to be multiplied with to
    pass: at most 1 where it does; None where there is none, or where no multiple would do.
    For the noise ratio and the flips the least tolerances are `sqnr_db` and `worst_flip`.

    For a stateful model `local_*` are over single steps that start from the source's own
    state, and `chunks_max_abs` is between the model's own answer to a sequence in parts
    and in one call. `diverged_at` is the first of `text_steps` tokens of greedy text that
    isn't the source's, None where all are, `diverged_margin` the source's margin there.
    """

    output: str
    passed: bool
    max_abs: float
    max_rel: float
    worst_case: str
    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None
    reason: str = ""
    least_multiple: float | None = None
    positions: Count = 0
    flips: Count = 0
    clear_flips: Count = 0
    worst_flip: float = 0.0
    local_max_abs: float | None = None
    local_sqnr_db: float | None = None
    chunks_max_abs: float | None = None
    text_steps: Count = 0
    diverged_at: int | None = None
    diverged_margin: float | None = None


class Quality(Struct, frozen=True):
    """A variant's quality on labelled samples, beside the source framework's.

    `metric` is `accuracy` (a share, more is better), `nats` (cross-entropy in nats per
    character, less is better) or, where there are no labels, `agreement` (the share of
    positions not flipped by more than the margin that is allowed). `drop` is the loss in
    percentage points, or in percent of the source's nats; negative is a gain. `top1` is the
    share of positions where variant and source choose the same class.

    `worse` and `better` count the samples that only the source, and only the variant, gets
    right. Where a sample has several labels, and for nats, `spread` is the standard deviation
    of the samples' losses of quality (a share, or nats). See `edgedl.runtime.paired`.
    """

    metric: Literal["accuracy", "nats", "agreement"]
    value: float
    source: float
    top1: float
    samples: Count
    worse: Count | None = None
    better: Count | None = None
    spread: float | None = None

    @property
    def drop(self) -> float:
        """Loss of quality: points of accuracy, or percent of the source's nats."""
        if self.metric == "nats":
            return 100.0 * (self.value - self.source) / self.source
        return 100.0 * (self.source - self.value)


class Unquantised(Struct, frozen=True):
    """A node that a quantised variant computes in float, and why."""

    node: str
    operator: str
    reason: str


class Variant(Struct, frozen=True):
    """One .onnx file, how it was made and the evidence it was held to.

    `unquantised` lists what a quantised variant left in float of the nodes that carry weights
    or multiply.
    """

    name: Name
    file: FileName
    sha256: Sha256
    bytes: Count
    recipe: Name
    tolerance: Tolerance
    opset: Count
    ir_version: Count
    min_onnxruntime: str
    operators: dict[str, int]
    parity: tuple[OutputParity, ...] = ()
    quality: Quality | None = None
    eval_quality: Quality | None = None
    settings: dict[str, Any] = {}
    unquantised: tuple[Unquantised, ...] = ()


class Chunks(Struct, frozen=True):
    """How a call's sequence is also run in parts: their lengths, and the axis of each tensor."""

    lengths: Annotated[tuple[int, ...], Meta(min_length=2)]
    inputs: dict[str, Count]
    outputs: dict[str, Count]


class GoldenCase(Struct, frozen=True):
    """One set of golden vectors: the sizes of the dynamic axes and the steps.

    A `call` of several steps feeds its state back. The steps of a `forced` case each start
    from the source's own state. A `text` is greedy: see `edgedl.runtime.free_text`.
    `chunks` says that the source answers the same in parts as in one call.
    """

    name: Name
    sizes: dict[str, int]
    steps: Annotated[int, Meta(ge=1)] = 1
    kind: Literal["call", "forced", "text"] = "call"
    chunks: Chunks | None = None

    @property
    def is_single(self) -> bool:
        """Whether it is one call: no sequence of steps, no text."""
        return self.kind == "call" and self.steps == 1


class Golden(Struct, frozen=True):
    """The file that holds the golden vectors and the cases in it."""

    file: FileName
    sha256: Sha256
    bytes: Count
    cases: Annotated[tuple[GoldenCase, ...], Meta(min_length=1)]


class Evaluation(Struct, frozen=True):
    """The file of labelled samples that travels, and how many it holds."""

    file: FileName
    sha256: Sha256
    bytes: Count
    samples: Count


class ImageClassification(Struct, frozen=True, tag="image-classification", tag_field="kind"):
    """An image in, a score per label out; pixel * scale + offset is what the input wants."""

    input: Name
    output: Name
    labels: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    @property
    def classes(self) -> tuple[str, ...]:
        """What the output's last axis scores, in its order: the labels."""
        return self.labels


class Vocabulary(Struct, frozen=True):
    """Token number to text; `unknown` is the token of whatever is not in the list."""

    tokens: tuple[str, ...]
    unknown: Count


class TextGeneration(Struct, frozen=True, tag="text-generation", tag_field="kind"):
    """Tokens in, the next token's logits out at every position."""

    input: Name
    output: Name
    vocabulary: Vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """What the output's last axis scores, in its order: the tokens."""
        return self.vocabulary.tokens


class Decision(Struct, frozen=True):
    """An int64 output that gives classes, one per position or K on a last axis of its own.

    `scores` names what they were chosen from: it is no output, but the source's own values
    are in the golden vectors under that name. `values` is the output that holds the chosen
    classes' scores, where there is one.
    """

    output: Name
    scores: Name
    values: str = ""


Task = ImageClassification | TextGeneration


class Candidate(Struct, frozen=True):
    """A recipe that a search considered, what is known of it and what became of it.

    `verdict`: `winner`; `front`, on the Pareto front of latency, loss and bytes; `dominated`;
    `over budget`, of noise or of quality; `failed`, making or measuring; `unfit` for this
    model; `skipped`, not worth making; `not finished` in the time given.
    `sqnr_db` is the noisiest output's, state left out; None where outputs are equal.
    `medians_ns` is a launch's median per round, None where a round went without it.
    """

    recipe: Name
    verdict: Literal[
        "winner", "front", "dominated", "over budget", "failed", "unfit", "skipped", "not finished"
    ]
    reason: str = ""
    bytes: Count | None = None
    quality: Quality | None = None
    sqnr_db: float | None = None
    medians_ns: tuple[Count | None, ...] = ()


class Search(Struct, frozen=True):
    """How the default variant was found: the candidates, the losers included, as measured.

    All ran on `device` at batch 1, every other dynamic axis at its least golden size, in fresh
    processes, once a round each, in random order. `again_ns` is the baseline's file launched
    a second time in each round, under another name: what two equal files differ by is the
    noise. Durations are in seconds.
    """

    device: Name
    host: Host
    max_drop: float
    baseline: Name
    again_ns: tuple[Count | None, ...]
    candidates: Annotated[tuple[Candidate, ...], Meta(min_length=1)]
    seconds: float
    notes: tuple[str, ...] = ()

    def candidate(self, recipe: str) -> Candidate:
        """The candidate made by that recipe; KeyError where there was none."""
        return {c.recipe: c for c in self.candidates}[recipe]

    @property
    def winner(self) -> Candidate:
        """The candidate that became the default."""
        return next(c for c in self.candidates if c.verdict == "winner")


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything a device must know about a bundle. Field order is file order."""

    schema_version: int
    name: Name
    task: Task | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StatePair, ...] = ()
    decisions: tuple[Decision, ...] = ()
    default_variant: Name
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    golden: Golden
    evaluation: Evaluation | None = None
    search: Search | None = None
    provenance: dict[str, Any] = {}
    seal: Sha256 = UNSEALED

    def variant(self, name: str | None = None) -> Variant:
        """The variant of that name; the default one for None."""
        wanted = self.default_variant if name is None else name
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        names = ", ".join(v.name for v in self.variants)
        raise BundleError(f"bundle {self.name!r} has no variant {wanted!r}", f"it has: {names}")

    def files(self) -> Iterator[Variant | Golden | Evaluation]:
        """Every file the manifest vouches for."""
        yield from self.variants
        yield self.golden
        if self.evaluation is not None:
            yield self.evaluation
