"""Errors of an export, beside the runtime's."""

from edgedl.runtime.errors import EdgedlError


class SourceError(EdgedlError):
    """A source that can't be read, or that isn't what its name says."""


class SamplesError(EdgedlError, ValueError):
    """Samples that don't fit the source, or are too few."""


class ConversionError(EdgedlError):
    """A conversion path that failed; another may do."""


class BakedAxisError(ConversionError):
    """A conversion path that pins axes to the example's size, and what tells so."""

    def __init__(self, axes: tuple[str, ...], sign: str) -> None:
        named = " and ".join(repr(axis) for axis in axes)
        super().__init__(f"it pins {named} to the example's size ({sign})")
        self.axes = axes


class RecipeError(EdgedlError):
    """A recipe that can't be made from this model."""


class NothingGainedError(RecipeError):
    """A recipe that fits the model, but has nothing to give it."""


class WriteError(EdgedlError, OSError):
    """A bundle that can't be written; an existing one is untouched."""
