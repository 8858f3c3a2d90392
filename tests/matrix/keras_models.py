"""The Keras models of the matrix: what goes in, and what is known of each."""

from __future__ import annotations

from tests.matrix import keras_tabular
from tests.matrix.entry import Entry, Input

TABULAR, SEQUENCE, VISION = (
    f"tests/matrix/keras_{name}.py" for name in ("tabular", "sequence", "vision")
)
TIME = ("series_1", 12)
SERIES = {"series": Input(("batch", TIME, 6))}
TOKENS = {"tokens": Input(("batch", ("tokens_1", 12)), "int32", high=50)}


def _image(*size: int | tuple[str, int], channels: int = 3) -> dict[str, Input]:
    return {"image": Input(("batch", *size, channels), unit=True)}


FREE = (("image_1", 12), ("image_2", 10))
SEVERAL = {"numbers": Input(("batch", 8)), "kind": Input(("batch",), "int64", high=7)}

# Weights here are random. That is why some recipes fail which trained models take.
STATIC = dict.fromkeys(
    ("int8-static", "int8-static-percentile"),
    "one class of the untrained model flips over more than the margin",
)
CLASSES = dict.fromkeys(
    ("int8-static", "int8-static-percentile", "int8-static-entropy", "int4-weights"),
    "classes that lie close flip, and a class without scores has no margin to excuse it",
)

ENTRIES = (
    Entry("keras mlp", f"{TABULAR}:mlp", {"features": Input(("batch", 32))}),
    Entry(
        "keras unbuilt sequential",
        f"{TABULAR}:unbuilt",
        {"x": Input(("batch", 12))},
    ),
    Entry("keras several inputs", f"{TABULAR}:several", SEVERAL),
    Entry(
        "keras dicts and a nested model",
        f"{TABULAR}:by_name",
        {"left": Input(("batch", 6)), "right": Input(("batch", 6))},
    ),
    Entry(
        "keras subclassed",
        f"{TABULAR}:subclassed",
        {"features": Input(("batch", 8))},
    ),
    Entry(
        "keras subclassed ranker",
        f"{TABULAR}:ranker",
        {
            "user": Input(("batch",), "int32", high=20),
            "items": Input(("batch", ("items", 9), 5)),
        },
    ),
    Entry("keras custom layer", f"{TABULAR}:custom", {"features": Input(("batch", 10))}),
    Entry(
        "keras normalization",
        f"{TABULAR}:normalised",
        {"numbers": Input(("batch", 6)), "age": Input(("batch", 1))},
    ),
    Entry(
        "keras activations",
        f"{TABULAR}:activations",
        {"features": Input(("batch", 8))},
        known=STATIC,
    ),
    Entry(
        "keras argmax",
        f"{TABULAR}:argmax",
        {"features": Input(("batch", 16))},
        known=CLASSES,
    ),
    Entry(
        "keras file",
        "{models}/several.keras",
        SEVERAL,
        prepare=keras_tabular.save_keras,
    ),
    Entry(
        "keras hdf5 file",
        "{models}/mlp.h5",
        {"features": Input(("batch", 32))},
        prepare=keras_tabular.save_hdf5,
    ),
    Entry(
        "keras savedmodel",
        "{models}/several",
        SEVERAL,
        prepare=keras_tabular.export_savedmodel,
    ),
    Entry(
        "keras savedmodel of a tf.Module",
        "{models}/attention",
        {"series": Input(("batch", TIME, 8))},
        prepare=keras_tabular.save_tensorflow,
    ),
    Entry("keras lstm", f"{SEQUENCE}:lstm", {"series": Input(("batch", 12, 6))}),
    Entry("keras lstm sequences", f"{SEQUENCE}:lstm_sequences", SERIES),
    Entry("keras lstm stacked", f"{SEQUENCE}:lstm_stacked", SERIES),
    Entry("keras lstm bidirectional", f"{SEQUENCE}:lstm_bidirectional", SERIES),
    Entry(
        "keras lstm states",
        f"{SEQUENCE}:lstm_states",
        {**SERIES, "h": Input(("batch", 8)), "c": Input(("batch", 8))},
    ),
    Entry("keras gru", f"{SEQUENCE}:gru", SERIES),
    Entry("keras gru reset before", f"{SEQUENCE}:gru_reset_before", SERIES),
    Entry("keras gru bidirectional", f"{SEQUENCE}:gru_bidirectional", SERIES),
    Entry("keras simple rnn", f"{SEQUENCE}:simple_rnn", SERIES),
    Entry(
        "keras convlstm",
        f"{SEQUENCE}:conv_lstm",
        {"clip": Input(("batch", 4, 8, 8, 2))},
    ),
    Entry(
        "keras causal conv1d",
        f"{SEQUENCE}:causal_convolutions",
        SERIES,
        known={"int8-static-entropy": "one golden answer lies in the tail that it clips"},
    ),
    Entry("keras embedding", f"{SEQUENCE}:embedding", TOKENS),
    Entry("keras embedding masked", f"{SEQUENCE}:embedding_masked", TOKENS),
    Entry("keras transformer", f"{SEQUENCE}:transformer", TOKENS),
    Entry("keras cnn", f"{VISION}:sequential_cnn", _image(16, 16, channels=1)),
    Entry("keras depthwise", f"{VISION}:depthwise_cnn", _image(16, 16)),
    Entry("keras dilated", f"{VISION}:dilated_cnn", _image(*FREE)),
    Entry("keras grouped", f"{VISION}:grouped_cnn", _image(12, 12, channels=4)),
    Entry("keras decoder", f"{VISION}:decoder", {"code": Input(("batch", 24))}),
    Entry("keras upsampling", f"{VISION}:upsampling", _image(*FREE)),
    Entry("keras residual", f"{VISION}:residual", _image(16, 16)),
    Entry("keras unet", f"{VISION}:unet", _image(32, 32, channels=1)),
    Entry(
        "keras rescaling",
        f"{VISION}:rescaled",
        {"pixels": Input(("batch", 24, 24, 3), "uint8", high=256)},
    ),
    Entry(
        "keras time distributed",
        f"{VISION}:video",
        {"clip": Input(("batch", ("clip_1", 5), 8, 8, 3), unit=True)},
    ),
    Entry(
        "keras conv3d",
        f"{VISION}:volumes",
        {"volume": Input(("batch", 8, 8, 8, 1))},
    ),
    Entry("keras MobileNetV2", f"{VISION}:mobilenet", {"input": Input(("batch", 96, 96, 3))}),
    Entry(
        "keras EfficientNetV2B0",
        f"{VISION}:efficientnet",
        {"input": Input(("batch", 96, 96, 3), unit=True)},
    ),
)
