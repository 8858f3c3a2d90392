"""What a case measures: a variant, or anything that a factory in a file builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgedl.runtime.errors import InputError, UnknownDeviceError
from edgedl.runtime.golden import Arrays
from edgedl.runtime.imports import import_file
from edgedl.runtime.protocol import Case
from edgedl.runtime.settings import Settings


@dataclass(frozen=True)
class Loaded:
    """Something ready to run, and what its session was opened with, None for a subject."""

    run: Callable[[], Arrays | None]
    settings: Settings | None = None


def load_variant(case: Case, inputs: Arrays) -> Loaded:
    """Load a variant and make it ready to run on the inputs."""
    from edgedl.runtime.session import load  # a subject must not bring the engine in

    settings = (case.threads, case.spinning, case.arena)
    model = load(case.bundle, case.variant, case.device, *settings, tuned=False)
    return Loaded(lambda: model.run_feeds(inputs), model.settings)


def load_subject(case: Case, inputs: Arrays) -> Loaded:
    """Load `file.py:factory` and build what it measures.

    Raises:
        InputError: There is no such file, or no such factory in it.
        UnknownDeviceError: It was asked for on another device than the CPU.
    """
    file, _, factory = case.subject.rpartition(":")
    if not Path(file).is_file() or not factory:
        raise InputError(f"there is no {case.subject!r} to measure", "give file.py:factory")
    if case.device != "cpu":
        raise UnknownDeviceError(f"{case.subject} is measured on cpu only, not {case.device}")
    build = getattr(import_file(Path(file)), factory, None)
    if build is None:
        raise InputError(f"{file} has no {factory!r} to measure", "give file.py:factory")
    return Loaded(build(inputs, case.threads, *case.subject_args))
