"""A Python file that a person names, imported as Python would run it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_file(path: Path) -> ModuleType:
    """Import a file that exists; it may import its neighbours, as a script may."""
    name = f"_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    put_on_path(path.parent.resolve())
    sys.modules[name] = module  # dataclasses, among others, look their module up
    spec.loader.exec_module(module)
    return module


def put_on_path(folder: Path) -> None:
    """Let modules in a folder be imported by name, from now on."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
