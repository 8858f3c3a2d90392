"""Everything that is made once before measuring: bundles, converted models, qualities."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.demo import Choices, carry_out, steps
from benchmarks.peers.environments import Environment, last_line
from benchmarks.peers.roster import DIGITS, TEXT, WORKLOADS, Peer, Workload
from edgedl.cli.terminal import say
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import InputError
from edgedl.runtime.host import usable_cpus
from edgedl.runtime.manifest import Manifest, Quality, Tolerance
from edgedl.runtime.paired import score_bound

LIMIT_S = 900  # for one conversion or one judgement
JUDGE_BATCH = {"keras": 100, "pytorch": 100}  # engines that would take minutes one by one
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Places:
    """Where things are: the demo's results, and what this benchmark leaves."""

    demo: Path
    out: Path

    @property
    def models(self) -> Path:
        """The converted models."""
        return self.out / "models"


@dataclass(frozen=True)
class Found:
    """What `--recipe auto` found for a model: the winner, and others that it raced.

    `lossless` is the fastest variant whose measured quality is the source's or better;
    `unshown` the fastest of which the samples don't show that it lost anything.
    """

    bundle: Path
    winner: str
    lossless: str
    unshown: str
    quantised: Tolerance


def search(model: str, places: Places, max_drop: float) -> Found:
    """The demo's own export of a model, with a search instead of its recipes."""
    demo = next(
        s for s in steps(Choices(places.demo, None, 1, None, None)) if s.name == f"export-{model}"
    )
    if not (places.demo / f"{model}.bundle").exists():
        raise InputError(f"{places.demo} lacks {model}.bundle", "run `make demo` first")
    bundle = places.out / f"{model}.bundle"
    options = ("-o", str(bundle), "--recipe", "auto", "--max-drop", str(max_drop))
    (places.out / "logs").mkdir(parents=True, exist_ok=True)
    trained = tuple(file for file in demo.inputs if file.is_relative_to(places.demo))
    step = replace(
        demo,
        name=f"search-{model}",
        command=(*demo.command, *options),
        inputs=(*trained, *sorted(Path("edgedl/export").rglob("*.py"))),
        result=bundle / "manifest.json",
    )
    carry_out(step, places.out)
    return found(bundle)


def found(bundle: Path) -> Found:
    """The winner of a searched bundle, and its fastest variant that loses no quality."""
    manifest = open_bundle(bundle).manifest
    quantised = next(v.tolerance for v in manifest.variants if not v.tolerance.element_wise)
    lossless = _fastest(manifest, lambda quality: quality.drop <= 0)
    unshown = _fastest(manifest, lambda quality: not loss_is_shown(quality))
    return Found(bundle, manifest.default_variant, lossless, unshown, quantised)


def _fastest(manifest: Manifest, admits: Callable[[Quality], bool]) -> str:
    """Of the variants with such a quality, the fastest in the search's race."""
    assert manifest.search is not None
    times = {
        c.recipe: float(np.median([ns for ns in c.medians_ns if ns is not None]))
        for c in manifest.search.candidates
        if any(ns is not None for ns in c.medians_ns)
    }
    found = [v for v in manifest.variants if v.quality is not None and admits(v.quality)]
    if not found:
        raise InputError(f"{manifest.name} kept no variant without a loss of quality")
    return min(found, key=lambda v: times.get(v.name, np.inf)).name


def loss_is_shown(quality: Quality) -> bool:
    """Whether the paired test shows at 95 % that a variant is worse than its source.

    Without paired counts (nats) any measured loss counts.
    """
    if quality.worse is None or quality.better is None:
        return quality.drop > 0
    return score_bound(quality.better, quality.worse, quality.samples) < 0


def arguments(peer: Peer, workload: Workload, places: Places, what: Found) -> tuple[str, ...]:
    """The engine's arguments for one workload."""
    weights = places.models / "pytorch" / "digits.npz"
    values = {
        "demo": places.demo,
        "models": places.models,
        "engine": peer.engine,
        "model": workload.model,
        "file": workload.file,
        "bundle": what.bundle,
        "winner": what.winner,
        "lossless": what.lossless,
        "unshown": what.unshown,
        "torch": weights if workload.model == DIGITS else places.demo / TEXT / "model.pt",
    }
    return tuple(argument.format(**values) for argument in peer.arguments)


def convert(
    peers: Sequence[Peer], places: Places, environments: dict[str, Environment]
) -> dict[tuple[str, str], str]:
    """Make every converted file that is missing or older than its source.

    Returns:
        Why there is none, by peer's name and workload's file; empty where there is one.
    """
    _convert_one((sys.executable, "digits_weights", places, "pytorch/digits.npz", "cnn-1", "float"))
    wanted = [
        (p, w) for p in peers if p.conversion for w in WORKLOADS
        if w.factory == "once" and p.takes(w)
    ]  # fmt: skip

    def problem(pair: tuple[Peer, Workload]) -> str:
        peer, workload = pair
        assert peer.conversion is not None
        how = peer.conversion
        if environments[how.environment].problem:
            return environments[how.environment].problem
        file = f"{peer.engine}/{workload.file}{how.suffix}"
        python = environments[how.environment].python
        return _convert_one((python, how.format, places, file, workload.file, how.kind))

    problems = _side_by_side(problem, wanted)
    return {(p.name, w.file): said for (p, w), said in zip(wanted, problems, strict=True)}


def _convert_one(asked: tuple[str, str, Places, str, str, str]) -> str:
    python, form, places, name, workload, kind = asked
    file = places.models / name
    sources = (places.demo / DIGITS / "model.keras", places.demo / TEXT / "model.pt",
               Path(__file__).parent / "conversions" / f"{form}.py")  # fmt: skip
    if file.exists() and file.stat().st_mtime >= max(s.stat().st_mtime for s in sources):
        return ""
    say(f"== converting {name}")
    file.parent.mkdir(parents=True, exist_ok=True)
    module = f"benchmarks.peers.conversions.{form}"
    said = _run((python, "-m", module, str(places.demo), str(file), workload, kind))
    if isinstance(said, Problem):
        file.unlink(missing_ok=True)
        return f"can't convert: {said.why}"
    return ""


@dataclass(frozen=True)
class Problem:
    """Why a process gave nothing."""

    why: str


def _run(command: Sequence[str]) -> str | Problem:
    """What a command printed, or why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return Problem(f"it takes more than {LIMIT_S} s")
    return done.stdout if done.returncode == 0 else Problem(last_line(done.stderr))


def _side_by_side(act: Callable[[Thing], str], things: Iterable[Thing]) -> list[str]:
    """Nothing is measured here, so every CPU may be busy."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(act, things))


def judge(
    asked: Sequence[tuple[Peer, str, tuple[str, ...]]],
    places: Places,
    environments: dict[str, Environment],
) -> list[str]:
    """How good each peer's answers on the labelled samples are, `98.51 %` or `1.2908 nats`.

    Args:
        asked: A peer, a model, and the engine's arguments.
        places: Where qualities that were measured before are kept.
        environments: By name.
    """
    kept_in = places.out / "judged"
    kept_in.mkdir(parents=True, exist_ok=True)

    def one(request: tuple[Peer, str, tuple[str, ...]]) -> str:
        peer, model, args = request
        file = str(places.demo / model / "eval.npz")
        size = JUDGE_BATCH.get(peer.engine, 1) if model == DIGITS else 64
        words = (model, file, str(size), peer.engine, *args)
        kept = kept_in / f"{_key(words)}.json"
        if not kept.is_file():
            say(f"== judging {model} under {peer.name}")
            python = environments[peer.environment].python
            said = _run((python, "-m", "benchmarks.peers.judge", *words))
            if isinstance(said, Problem):
                return f"can't be judged: {said.why}"
            kept.write_text(said.splitlines()[-1])
        return _shown(json.loads(kept.read_text()))

    return _side_by_side(one, asked)


def _key(words: Sequence[str]) -> str:
    """Of the words and of every file that one of them names."""
    digest = hashlib.sha256(json.dumps(words).encode())
    for word in words:
        for path in (Path(word), Path(word) / "manifest.json"):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _shown(verdict: dict[str, Any]) -> str:
    if verdict["metric"] == "accuracy":
        return f"{verdict['value']:.2%}"
    return f"{verdict['value']:.4f} nats"
