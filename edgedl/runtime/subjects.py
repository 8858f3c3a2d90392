"""What a case measures beside variants: anything that a factory in a file builds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedl.runtime.errors import InputError, UnknownDeviceError
from edgedl.runtime.golden import Arrays
from edgedl.runtime.imports import import_file
from edgedl.runtime.modes import Loaded
from edgedl.runtime.protocol import Case


def load_subject(case: Case, inputs: Arrays) -> Loaded:
    """Load `file.py:factory` and build what it measures.

    Raises:
        InputError: There is no such file, or no such factory in it; or the mode is `app`,
            which a factory's result knows nothing of.
        UnknownDeviceError: It was asked for on another device than the CPU.
    """
    file, _, factory = case.subject.rpartition(":")
    if not Path(file).is_file() or not factory:
        raise InputError(f"there is no {case.subject!r} to measure", "give file.py:factory")
    if case.device != "cpu":
        raise UnknownDeviceError(f"{case.subject} is measured on cpu only, not {case.device}")
    if case.mode == "app":
        raise InputError(
            f"{case.subject} takes a model's inputs: it has no app around it to include",
            "measure it with --mode model or run",
        )
    build = getattr(import_file(Path(file)), factory, None)
    if build is None:
        raise InputError(f"{file} has no {factory!r} to measure", "give file.py:factory")
    return Loaded(build(inputs, case.threads, *case.subject_args), _copies)


def _copies(outputs: Arrays | None) -> Arrays | None:
    return outputs and {name: np.array(array) for name, array in outputs.items()}
