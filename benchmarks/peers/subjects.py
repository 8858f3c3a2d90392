"""What the worker times: one step of an engine, or a greedy text of two hundred tokens.

Subjects of `edgedl.runtime.protocol.Case`. The engine is named first, so that one file
serves all; see `benchmarks.peers.engines`.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks.peers.engines import Step
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import InputError, ParityError
from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.free_text import Divergence
from edgedl.runtime.golden import Array, Arrays, GoldenVectors, read_golden
from edgedl.runtime.manifest import Tolerance

TOKENS = 200
# What a process that keeps to its threads may use more than them: timer ticks, the kernel.
EXCESS_CPUS = 0.35


def once(inputs: Arrays, threads: int | None, engine: str, *args: str) -> Callable[[], Arrays]:
    """One step of an engine on the inputs."""
    with_environment(threads)
    step: Step = importlib.import_module(f"benchmarks.peers.engines.{engine}").open_model(
        inputs, threads, *args
    )
    check_threads(lambda: step(inputs), threads)
    return lambda: step(inputs)


def with_environment(threads: int | None) -> None:
    """Tell the libraries that read their threads when they are loaded."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            os.environ[name] = str(threads)


def check_threads(run: Callable[[], object], threads: int | None) -> None:
    """Refuse an engine that burns more CPUs than it was given threads.

    Raises:
        InputError: With what it used.
    """
    run()
    if threads is not None:
        # Some spin up helpers that rest soon after: the last of these looks counts.
        used = [cpus_used(run) for _ in range(3)][-1]
        if used > threads + EXCESS_CPUS:
            raise InputError(f"it was given {threads} threads and used {used:.1f} CPUs")


def cpus_used(run: Callable[[], object], seconds: float = 0.1) -> float:
    """Processor time of this whole process over wall time, while something runs again and again."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        run()
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


@dataclass(frozen=True)
class Prompt:
    """The source's greedy text: what it began with, and how it went on."""

    bundle: str
    tolerance: Tolerance
    vectors: GoldenVectors
    spread: float

    @property
    def tokens(self) -> Array:
        """int64 (1, time)."""
        text = self.vectors.inputs["tokens"]
        return np.ascontiguousarray(text[:, : text.shape[1] - self.vectors.case.steps])

    def check(self, text: Array) -> None:
        """Refuse a text that leaves the source's where that was no close call.

        Raises:
            ParityError: It does.
        """
        steps = self.vectors.case.steps
        expected = self.vectors.inputs["tokens"][0, -steps:]
        others = np.flatnonzero(text[:steps] != expected)
        if others.size:
            at = int(others[0])
            best, second = self.vectors.outputs["logits"][at].tolist()
            problem = Divergence("logits", steps, at, (best, second)).problem(
                self.tolerance, self.spread
            )
            if problem:
                raise ParityError(problem)


def read_prompt(bundle: str, tolerance: str) -> Prompt:
    """The text case of a bundle's golden vectors; the tolerance is a `Tolerance` in JSON."""
    golden = read_golden(open_bundle(bundle))
    vectors = next(v for v in golden if v.case.kind == "text")
    held = msgspec.json.decode(tolerance, type=Tolerance)
    return Prompt(bundle, held, vectors, golden_spreads(golden)["logits"])


def generate(
    inputs: Arrays, threads: int | None, bundle: str, tolerance: str, engine: str, *args: str
) -> Callable[[], None]:
    """A greedy text of `TOKENS` tokens after the golden prompt, checked before it is timed."""
    with_environment(threads)
    prompt = read_prompt(bundle, tolerance)
    module = importlib.import_module(f"benchmarks.peers.engines.{engine}")
    if hasattr(module, "open_loop"):
        loop = module.open_loop(threads, prompt.tokens, TOKENS, *args)
    else:
        loop = stepping(module.open_model(inputs, threads, *args), inputs, prompt.tokens)
    prompt.check(loop())
    check_threads(loop, threads)

    def run() -> None:
        loop()

    return run


def stepping(step: Step, inputs: Arrays, prompt: Array) -> Callable[[], Array]:
    """A greedy loop over single steps: the prompt goes in token by token."""
    zeros = {name: np.zeros_like(inputs[name]) for name in ("h", "c")}

    def loop() -> Array:
        h, c, logits = zeros["h"], zeros["c"], np.zeros(0, np.float32)
        chosen = np.zeros(TOKENS, np.int64)
        for token in prompt[0]:
            answer = step({"tokens": np.full((1, 1), token), "h": h, "c": c})
            h, c, logits = answer["h_out"], answer["c_out"], answer["logits"]
        for i in range(TOKENS):
            chosen[i] = token = logits.reshape(-1).argmax()
            if i < TOKENS - 1:
                answer = step({"tokens": np.full((1, 1), token), "h": h, "c": c})
                h, c, logits = answer["h_out"], answer["c_out"], answer["logits"]
        return chosen

    return loop
