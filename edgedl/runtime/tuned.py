"""What a benchmark found best on this machine, stored beside the bundle.

`digits.bundle.tuned.json` lies beside `digits.bundle`, not in it: a bundle is the same on
every machine, and may be read-only. It is believed only by the machine it was measured on.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import BundleError
from edgedl.runtime.host import processor, usable_cpus
from edgedl.runtime.settings import Settings

SUFFIX = ".tuned.json"


class Machine(Struct, frozen=True):
    """What a measurement holds for: another of any of these, and it says nothing."""

    processor: str
    cpus: int
    onnxruntime: str

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        return f"{self.processor}, {cpus}, onnxruntime {self.onnxruntime}"


class Tuned(Struct, frozen=True):
    """The fastest way to run a bundle on one device of one machine. Medians in nanoseconds.

    `bundle` is the manifest's seal. `default_ns` is the median of what `load` would have
    taken without it: the default variant with default settings.
    """

    bundle: str
    device: str
    machine: Machine
    variant: str
    settings: Settings
    median_ns: int
    default_ns: int


def this_machine() -> Machine:
    """The machine this process runs on."""
    from edgedl.runtime.engine import ort

    return Machine(processor(), usable_cpus(), ort.__version__)


def tuned_file(bundle: Path) -> Path:
    """Where what was found for a bundle is stored."""
    whole = Path(os.path.abspath(bundle))  # "." has no name to add to
    return whole.with_name(whole.name + SUFFIX)


def read_tuned(bundle: Bundle, device: str) -> tuple[Tuned | None, str]:
    """What was found best for this bundle, on this device of this machine.

    Returns:
        It, or None and why there is none that can be believed.
    """
    found = [t for t in all_tuned(bundle.path) if t.device == device]
    if not found:
        return None, "not tuned here: `edgedl bench --tune` measures what is best"
    tuned = found[0]
    if tuned.bundle != bundle.manifest.seal:
        return None, "tuned before the bundle was exported again: run `edgedl bench --tune`"
    if tuned.variant not in (v.name for v in bundle.manifest.variants):
        return None, f"tuned to {tuned.variant!r}, which isn't there: run `edgedl bench --tune`"
    now = this_machine()
    for name in Machine.__struct_fields__:
        then, here = getattr(tuned.machine, name), getattr(now, name)
        if then != here:
            return None, f"tuned with {name} {then}, here it is {here}: run `edgedl bench --tune`"
    return tuned, ""


def store_tuned(bundle: Path, tuned: Tuned) -> Path:
    """Store it, whole or not at all, beside what is stored for other devices.

    Raises:
        BundleError: The folder can't be written to.
    """
    file = tuned_file(bundle)
    kept = [t for t in all_tuned(bundle) if t.device != tuned.device]
    content = msgspec.json.format(msgspec.json.encode([*kept, tuned]), indent=2) + b"\n"
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_bytes(content)
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise not_stored(bundle, error) from None
    return file


def not_stored(bundle: Path, error: OSError) -> BundleError:
    """The error of a place beside a bundle that can't be written to."""
    return BundleError(
        f"{tuned_file(bundle)} can't be written: {error.strerror}",
        "what is tuned lies beside the bundle: copy that to a folder you may write to",
    )


def all_tuned(bundle: Path) -> list[Tuned]:
    """What is stored, for every device; nothing where the file is missing or of another kind."""
    try:
        return msgspec.json.decode(tuned_file(bundle).read_bytes(), type=list[Tuned])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
