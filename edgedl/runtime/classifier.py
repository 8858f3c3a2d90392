"""A ready-made task over a session: an image classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgedl.runtime.errors import InputError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import ImageClassification

if TYPE_CHECKING:
    from edgedl.runtime.session import Model


@dataclass(frozen=True)
class Prediction:
    """A label, its score, and every label's score in the labels' order.

    A model whose output is the K best classes gives only their scores, the best first; one
    whose output is the class itself gives none, and the score is NaN.
    """

    label: str
    score: float
    scores: dict[str, float]


class Classifier:
    """An image classifier over a model whose task is image classification."""

    def __init__(self, model: Model) -> None:
        task = model.manifest.task
        if not isinstance(task, ImageClassification):
            raise InputError(
                f"{model.manifest.name!r} is no image classifier", "call run() on the model"
            )
        self.model = model
        self.task = task
        self._spec = next(t for t in model.inputs if t.name == task.input)

    @property
    def image_size(self) -> tuple[int, int, int]:
        """Height, width and channels the model wants; dynamic sizes are 0."""
        dims = [d if isinstance(d, int) else 0 for d in self._spec.shape[1:]]
        if len(dims) != 3:
            raise InputError(f"{self._spec} is not a batch of images")
        return (dims[1], dims[2], dims[0]) if self.task.layout == "NCHW" else (*dims,)  # type: ignore[return-value]

    def classify(self, image: Array) -> Prediction:
        """The label of one image.

        Args:
            image: uint8 pixels, (height, width) or (height, width, channels), of the
                size in `image_size`; scaled as the task says.
        """
        return self.prediction(self.model.run_feeds({self.task.input: self.prepare(image)}))

    def prediction(self, values: Arrays) -> Prediction:
        """What a model's outputs say of the first image, where you ran what `prepare` gave."""
        labels, answer = self.task.labels, values[self.task.output][0]
        for decision in self.model.manifest.decisions:
            if decision.output == self.task.output:
                scores = values[decision.values][0].tolist() if decision.values else [math.nan]
                chosen = [labels[number] for number in np.atleast_1d(answer)]
                known = zip(chosen, scores, strict=True) if decision.values else ()
                return Prediction(chosen[0], scores[0], dict(known))
        scores = answer.tolist()
        best = int(np.argmax(scores))
        return Prediction(labels[best], scores[best], dict(zip(labels, scores, strict=True)))

    def prepare(self, image: Array) -> Array:
        """Pixels as the model's input, a batch of one."""
        if not isinstance(image, np.ndarray):
            raise InputError(f"an image is a NumPy array, not a {type(image).__name__}")
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise InputError(
                f"an image is uint8 (height, width[, channels]), not {image.dtype} "
                f"{list(image.shape)}"
            )
        pixels = image[..., None] if image.ndim == 2 else image
        if self._spec.dtype != "uint8":
            pixels = (pixels * self.task.scale + self.task.offset).astype(self._spec.dtype)
        if self.task.layout == "NCHW":
            pixels = np.moveaxis(pixels, -1, 0)
        return np.ascontiguousarray(pixels[None])
