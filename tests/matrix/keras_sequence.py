"""Keras models on sequences, as a person would write them."""

from __future__ import annotations

import keras
from keras import layers


def _over_time(*stack: keras.layers.Layer, features: int = 6) -> keras.Model:
    """Layers over a sequence of any length."""
    return keras.Sequential([keras.Input((None, features), name="series"), *stack])


def lstm() -> keras.Model:
    """One LSTM, its last output, over sequences of one length."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((12, 6), name="series"), layers.LSTM(16), layers.Dense(4, name="logits")]
    )


def lstm_sequences() -> keras.Model:
    """An LSTM's output at every step of a free time axis."""
    keras.utils.set_random_seed(0)
    return _over_time(layers.LSTM(16, return_sequences=True), layers.Dense(4, name="logits"))


def lstm_stacked() -> keras.Model:
    """Two LSTMs, the second one backwards."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.LSTM(16, return_sequences=True),
        layers.LSTM(12, go_backwards=True),
        layers.Dense(4, name="logits"),
    )


def lstm_bidirectional() -> keras.Model:
    """A bidirectional LSTM at every step, and one at the last."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(8), merge_mode="sum"),
        layers.Dense(4, name="logits"),
    )


def lstm_states() -> keras.Model:
    """An LSTM that gives its states and takes them."""
    keras.utils.set_random_seed(0)
    series = keras.Input((None, 6), name="series")
    h, c = keras.Input((8,), name="h"), keras.Input((8,), name="c")
    y, h_next, c_next = layers.LSTM(8, return_sequences=True, return_state=True)(
        series, initial_state=[h, c]
    )
    return keras.Model([series, h, c], {"y": y, "h": h_next, "c": c_next})


def gru() -> keras.Model:
    """A GRU as it is by default: the reset gate after the product."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.GRU(16, return_sequences=True, bias_initializer="random_normal"),
        layers.Dense(4, name="logits"),
    )


def gru_reset_before() -> keras.Model:
    """A GRU as the paper has it: the reset gate before the product."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.GRU(16, reset_after=False, bias_initializer="random_normal"),
        layers.Dense(4, name="logits"),
    )


def gru_bidirectional() -> keras.Model:
    """A bidirectional GRU."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.Bidirectional(
            layers.GRU(8, return_sequences=True, bias_initializer="random_normal")
        ),
        layers.Bidirectional(layers.GRU(8, use_bias=False)),
        layers.Dense(4, name="logits"),
    )


def simple_rnn() -> keras.Model:
    """SimpleRNN, with tanh and with relu."""
    keras.utils.set_random_seed(0)
    return _over_time(
        layers.SimpleRNN(16, return_sequences=True, bias_initializer="random_normal"),
        layers.SimpleRNN(8, activation="relu"),
        layers.Dense(4, name="logits"),
    )


def conv_lstm() -> keras.Model:
    """ConvLSTM2D over a clip."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4, 8, 8, 2), name="clip"),
            layers.ConvLSTM2D(4, 3, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="logits"),
        ]
    )


def causal_convolutions() -> keras.Model:
    """A small WaveNet: causal, dilated Conv1D layers over any length."""
    keras.utils.set_random_seed(0)
    stack = [
        layers.Conv1D(8, 3, padding="causal", dilation_rate=2**i, activation="relu")
        for i in range(3)
    ]
    return _over_time(*stack, layers.Conv1D(4, 1, name="next"))


def embedding() -> keras.Model:
    """Tokens of any length, their embeddings' mean."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((None,), name="tokens", dtype="int32"),
            layers.Embedding(50, 16),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4, name="logits"),
        ]
    )


def embedding_masked() -> keras.Model:
    """mask_zero: an LSTM and a GRU that pass over padding."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((None,), name="tokens", dtype="int32"),
            layers.Embedding(50, 16, mask_zero=True),
            layers.LSTM(16, return_sequences=True),
            layers.GRU(8),
            layers.Dense(4, name="logits"),
        ]
    )


def transformer() -> keras.Model:
    """A causal transformer block over tokens: attention, LayerNormalization, gelu."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    x = layers.Embedding(50, 32)(tokens)
    attended = layers.MultiHeadAttention(4, 8)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(x + attended)
    inner = layers.Dense(32)(layers.Dense(64, activation="gelu")(x))
    x = layers.LayerNormalization()(x + inner)
    return keras.Model(tokens, layers.Dense(50, name="logits")(x))
