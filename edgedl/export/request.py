"""What an export is told, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgedl.export.errors import SourceError
from edgedl.export.frames import AnswerOutput, PixelInput
from edgedl.export.interface import DynamicAxis
from edgedl.export.race import Pace
from edgedl.runtime.manifest import StatePair, Task

AUTO = "auto"
DEFAULT_OPSET = 17
DEFAULT_MAX_DROP = 1.0


@dataclass(frozen=True)
class ExportRequest:
    """Everything an export is told; `edgedl export --help` explains each.

    `recipes` empty means the usual ones that fit, `all` every one, `auto` those that a search
    on the device finds. `device` is where the bundle will run; None makes variants that are
    right on any CPU, and a search measures on this one's. `max_drop` is in points
    of accuracy, or in percent of nats per character or of top-1 agreement. `pace` is how much
    a search may measure.
    """

    source: str
    output: Path
    recipes: tuple[str, ...] = ()
    samples: Path | None = None
    evaluation: Path | None = None
    task: Task | None = None
    weights: Path | None = None
    dynamic: tuple[DynamicAxis, ...] = ()
    state: tuple[StatePair, ...] = ()
    pixels: tuple[PixelInput, ...] = ()
    answers: tuple[AnswerOutput, ...] = ()
    max_drop: float = DEFAULT_MAX_DROP
    device: str | None = None
    opset: int | None = None
    min_ort: str | None = None
    simplify: bool = True
    force: bool = False
    pace: Pace = field(default_factory=Pace)

    @property
    def searches(self) -> bool:
        """Whether the recipe is to be found by measurement."""
        return AUTO in self.recipes

    @property
    def target(self) -> str | None:
        """The device that variants are made for; None for any CPU."""
        return self.device or ("cpu" if self.searches else None)


def read_task(path: Path) -> Task:
    """A task description: JSON with `kind`, `input`, `output` and labels or vocabulary.

    Raises:
        SourceError: It isn't one.
    """
    try:
        task: Task = msgspec.json.decode(path.read_bytes(), type=Task)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}", "give a JSON file") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is not a task: {error}",
            "kinds: image-classification (labels), text-generation (vocabulary)",
        ) from None
    return task
