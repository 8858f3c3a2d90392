"""Layers that can't be traced or converted with a free axis, and layers of ours instead.

A stand-in calls the original layer, or holds no weights: it answers the same. The export
holds it to the original model's answers, as it does every conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_stand_ins(keras: Any, model: Any) -> Any | None:
    """A Sequential or functional model that shares the weights; None where nothing changes."""
    makers = _makers(keras)

    def stand_in(layer: Any) -> Any:
        for kind, make in makers.items():
            if isinstance(layer, kind):
                return make(keras, layer)
        return layer

    if not getattr(model, "inputs", None) or not _holds(model, tuple(makers)):
        return None
    return keras.models.clone_model(model, clone_function=stand_in, recursive=True)


def _makers(keras: Any) -> dict[Any, Callable[[Any, Any], Any]]:
    return {
        keras.layers.TimeDistributed: _frames,
        keras.layers.UpSampling2D: _upsampling,
        keras.layers.Resizing: _resizing,
    }


def _holds(model: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether one of its layers, or of the models in it, is of these kinds."""
    layers = getattr(model, "layers", [])
    return any(isinstance(layer, kinds) or _holds(layer, kinds) for layer in layers)


def _frames(keras: Any, wrapper: Any) -> Any:
    """TimeDistributed: batch and time become one axis for the inner layer.

    With a free time axis Keras maps the layer over time by tf.vectorized_map, whose reshapes
    tf2onnx gets wrong around a convolution.
    """
    ops = keras.ops

    class Frames(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any, mask: Any = None) -> Any:
            shape = ops.shape(inputs)
            frames = ops.reshape(inputs, (-1, *inputs.shape[2:]))
            outputs = wrapper.layer(frames, training=False)
            return ops.reshape(outputs, (-1, shape[1], *outputs.shape[1:]))

        def compute_output_shape(self, shape: Any) -> Any:
            return wrapper.compute_output_shape(shape)

    return Frames(name=wrapper.name)


def _upsampling(keras: Any, layer: Any) -> Any:
    """UpSampling2D that interpolates: Keras compares the free sizes with 0 while it is traced."""
    import tensorflow as tf

    if layer.interpolation == "nearest":
        return layer
    last = layer.data_format == "channels_last"

    class Upsampling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            images = inputs if last else tf.transpose(inputs, [0, 2, 3, 1])
            size = tf.shape(images)[1:3] * tf.constant(layer.size)
            images = tf.image.resize(images, size, layer.interpolation)
            images = tf.cast(images, inputs.dtype)
            return images if last else tf.transpose(images, [0, 3, 1, 2])

        def compute_output_shape(self, shape: Any) -> Any:
            return layer.compute_output_shape(shape)

    return Upsampling(name=layer.name)


def _resizing(keras: Any, layer: Any) -> Any:
    """Resizing images of integers: Keras rounds, but not while it is traced."""
    import tensorflow as tf

    names = (
        "interpolation", "antialias", "data_format", "crop_to_aspect_ratio",
        "pad_to_aspect_ratio", "fill_mode", "fill_value",
    )  # fmt: skip
    options = {name: getattr(layer, name) for name in names}

    class Resizing(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            images = keras.ops.image.resize(inputs, (layer.height, layer.width), **options)
            if inputs.dtype.is_integer and not images.dtype.is_integer:
                return tf.saturate_cast(tf.round(images), inputs.dtype)
            return images

        def compute_output_spec(self, inputs: Any) -> Any:
            shape = layer.compute_output_shape(inputs.shape)
            return keras.KerasTensor(shape, dtype=inputs.dtype)

    return Resizing(name=layer.name)
