"""torch's own files: weights, and what is refused as a source.

`torch.save(model)` and a TorchScript archive hold code, which loading runs. Neither is a
source: a state dict with its factory, or an exported program (`.pt2`), says the same.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

from edgedl.export.errors import SourceError
from edgedl.export.sources.torch_run import import_torch
from edgedl.runtime.errors import one_line

UNREADABLE = (RuntimeError, EOFError, ValueError, KeyError)
ALTERNATIVE = (
    "give file.py:factory with --weights FILE (torch.save(model.state_dict(), FILE)), "
    "or torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
)


def load_weights(weights: Path) -> Any:
    """What is in a file of weights, loaded with `weights_only=True`.

    Raises:
        SourceError: It can't be loaded safely.
    """
    torch = import_torch()
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SourceError(
            f"{weights} can't be read: {error.strerror or error}", "give a file of torch weights"
        ) from None
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{weights} is damaged or holds code, not just weights: refused",
            "save a state dict: torch.save(model.state_dict(), FILE)",
        ) from error
    except UNREADABLE as error:
        reason = one_line(error)
        raise SourceError(
            f"{weights} is not a file of torch weights: {reason}",
            "save a state dict: torch.save(model.state_dict(), FILE)",
        ) from error


def refusal(path: Path) -> SourceError:
    """Why a file that torch wrote is no source, and what to give instead; runs nothing."""
    if not path.is_file():
        return SourceError(f"{path} is missing", ALTERNATIVE)
    members = _members(path)
    if any(name.endswith("/archive_format") for name in members):
        return SourceError(f"{path} is an exported program", f"call it {path.stem}.pt2")
    if any("/code/" in name or name.endswith("/constants.pkl") for name in members):
        return SourceError(
            f"{path} is a TorchScript archive, which would run code: refused", ALTERNATIVE
        )
    try:
        load_weights(path)
    except SourceError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            return error
        return SourceError(
            f"{path} is damaged or a pickled module, which would run code: refused", ALTERNATIVE
        )
    return SourceError(
        f"{path} holds weights, not the model that they are for",
        f"give file.py:factory --weights {path}",
    )


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []
