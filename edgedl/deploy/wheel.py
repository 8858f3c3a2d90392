"""The device's wheel: what proves and runs bundles, made from the edgedl that is installed.

    python -m edgedl.deploy.wheel dist

Its version has a label of its own (`0.1.0+runtime`, PEP 440), since it holds less than the
wheel of that number; it satisfies `edgedl==0.1.0` all the same.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import edgedl

LABEL = "runtime"
# What a device does by itself: the rest of edgedl stays where the model is, and asks the
# device's worker.
VERBS = ("inspect", "parity", "run")
LEFT_OUT = ("edgedl.export", "edgedl.deploy")
EXTRAS = ("cpu", "gpu", "cli", "image")
# The earliest time that a zip can hold: equal content is to give equal bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_runtime_wheel(folder: Path) -> Path:
    """Write the device's wheel.

    Args:
        folder: Where to; made if it isn't there.

    Returns:
        The wheel: the same bytes for the same code.
    """
    version = f"{edgedl.__version__}+{LABEL}"
    info = f"edgedl-{version}.dist-info"
    files = {f"edgedl/{name}": content for name, content in _package().items()}
    files[f"{info}/METADATA"] = _metadata(version).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: edgedl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nedgedl = edgedl.cli:main\n"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"edgedl-{version}-py3-none-any.whl"
    unfinished = wheel.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    unfinished.replace(wheel)
    return wheel


def _package() -> dict[str, bytes]:
    """The source files that a device needs, by path in the package.

    The runtime, the verbs, and whatever of edgedl these import, directly or not.
    """
    root = Path(edgedl.__file__).parent
    runtime = (f"edgedl.runtime.{path.stem}" for path in (root / "runtime").glob("*.py"))
    wanted = ["edgedl.__main__", "edgedl.cli.commands", *runtime]
    wanted += [f"edgedl.cli.{verb}" for verb in VERBS]
    found: dict[str, bytes] = {}
    while wanted:
        file = _source(root, wanted.pop())
        if file is not None and (name := file.relative_to(root).as_posix()) not in found:
            found[name] = file.read_bytes()
            wanted += _imports(found[name])
    return dict(sorted(found.items()))


def _source(root: Path, module: str) -> Path | None:
    """A module's file; None for a name in a module, and for what is left out."""
    if module.startswith(LEFT_OUT):
        return None
    path = root.joinpath(*module.split(".")[1:])
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _imports(source: bytes) -> list[str]:
    """The modules of edgedl that a file imports anywhere, and the packages they are in."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    own = [name for name in names if name.startswith("edgedl")]
    return own + [name.rpartition(".")[0] for name in own if "." in name]


def _metadata(version: str) -> str:
    """The installed distribution's own, with the extras that make sense on a device."""
    installed = Parser().parsestr(metadata.distribution("edgedl").read_text("METADATA") or "")
    lean = Message()
    for key, value in installed.items():
        if key == "Version":
            lean[key] = version
        elif key not in ("Provides-Extra", "Requires-Dist") or _fits(key, value):
            lean[key] = value
    return lean.as_string()


def _fits(key: str, value: str) -> bool:
    if key == "Provides-Extra":
        return value in EXTRAS
    _, _, marker = value.partition("extra == ")
    return not marker or marker.strip("'\" ") in EXTRAS


def _record(files: dict[str, bytes], own: str) -> bytes:
    """Every file's hash and size, as the wheel format wants them (PEP 376, PEP 427)."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own},,", ""]).encode()


if __name__ == "__main__":
    print(write_runtime_wheel(Path(*sys.argv[1:2] or ["dist"])))
