"""Keras models on images, as a person would write them."""

from __future__ import annotations

import keras
from keras import layers


def _seeded(model: keras.Model) -> keras.Model:
    """The model with weights, batch statistics and biases that are not trivial."""
    generator = keras.random.SeedGenerator(1)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(keras.random.uniform(weight.shape, 0.5, 1.5, seed=generator))
        elif any(part in weight.path for part in ("mean", "beta", "bias")):
            weight.assign(keras.random.normal(weight.shape, stddev=0.1, seed=generator))
    return model


def sequential_cnn() -> keras.Model:
    """Convolutions, batch normalisation, pooling, dropout."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1), name="image"),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, name="logits"),
        ]
    )
    return _seeded(model)


def depthwise_cnn() -> keras.Model:
    """Depthwise and separable convolutions."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
            layers.ReLU(6.0),
            layers.SeparableConv2D(12, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(5, name="logits"),
        ]
    )
    return _seeded(model)


def dilated_cnn() -> keras.Model:
    """Dilated convolutions over images of any size."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, None, 3), name="image"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu"),
            layers.Conv2D(4, 3, dilation_rate=4, padding="same", name="mask"),
        ]
    )
    return _seeded(model)


def grouped_cnn() -> keras.Model:
    """A grouped convolution, which Keras compiles with XLA on a CPU."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 4), name="image"),
            layers.Conv2D(16, 3, groups=4, activation="gelu"),
            layers.GroupNormalization(4),
            layers.GlobalAveragePooling2D(),
            layers.Dense(6, name="logits"),
        ]
    )
    return _seeded(model)


def decoder() -> keras.Model:
    """Transposed convolutions from a vector to an image."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((24,), name="code"),
            layers.Dense(4 * 4 * 8, activation="relu"),
            layers.Reshape((4, 4, 8)),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid"),
        ]
    )
    return _seeded(model)


def upsampling() -> keras.Model:
    """Nearest and bilinear upsampling of images of any size."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    wide = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    near = layers.UpSampling2D(2, name="near")(wide)
    smooth = layers.UpSampling2D(2, interpolation="bilinear", name="smooth")(wide)
    return _seeded(keras.Model(image, layers.Conv2D(3, 1, name="larger")(near + smooth)))


def residual() -> keras.Model:
    """Residual blocks, then GlobalAveragePooling."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    for _ in range(3):
        inner = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
        inner = layers.BatchNormalization()(inner)
        inner = layers.ReLU()(inner)
        inner = layers.Conv2D(8, 3, padding="same")(inner)
        x = layers.ReLU()(layers.Add()([x, inner]))
    x = layers.GlobalAveragePooling2D()(x)
    return _seeded(keras.Model(image, layers.Dense(10, activation="softmax", name="classes")(x)))


def unet() -> keras.Model:
    """Down, up and across, for images whose sides are multiples of four."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 1), name="image")
    high = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    middle = layers.Conv2D(12, 3, padding="same", activation="relu")(layers.MaxPooling2D()(high))
    low = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(middle))
    up = layers.Conv2DTranspose(12, 2, strides=2)(low)
    up = layers.Conv2D(12, 3, padding="same", activation="relu")(layers.Concatenate()([up, middle]))
    up = layers.UpSampling2D(interpolation="bilinear")(up)
    up = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Concatenate()([up, high]))
    return _seeded(keras.Model(image, layers.Conv2D(2, 1, name="mask")(up)))


def rescaled() -> keras.Model:
    """Raw uint8 pixels in: Rescaling, resizing and cropping are layers of the model."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((24, 24, 3), name="pixels", dtype="uint8"),
            layers.Resizing(12, 12),
            layers.CenterCrop(10, 10),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.RandomFlip("horizontal"),
            layers.Conv2D(8, 3, activation="swish"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, name="logits"),
        ]
    )
    return _seeded(model)


def video() -> keras.Model:
    """A convolution per frame of a clip of any length, then its mean."""
    keras.utils.set_random_seed(0)
    clip = keras.Input((None, 8, 8, 3), name="clip")
    x = layers.TimeDistributed(layers.Conv2D(6, 3, activation="relu"))(clip)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    return _seeded(keras.Model(clip, layers.Dense(3, name="logits")(layers.LSTM(8)(x))))


def volumes() -> keras.Model:
    """Three-dimensional convolutions."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 8, 1), name="volume"),
            layers.Conv3D(4, 3, activation="relu"),
            layers.MaxPooling3D(),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )
    return _seeded(model)


def mobilenet() -> keras.Model:
    """MobileNetV2 as keras.applications has it."""
    keras.utils.set_random_seed(0)
    return _seeded(
        keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)
    )


def efficientnet() -> keras.Model:
    """EfficientNetV2B0 as keras.applications has it; its Rescaling takes 0 to 255."""
    keras.utils.set_random_seed(0)
    return _seeded(
        keras.applications.EfficientNetV2B0(
            weights=None, input_shape=(96, 96, 3), classes=10, classifier_activation=None
        )
    )
