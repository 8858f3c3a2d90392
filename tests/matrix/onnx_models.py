"""ONNX models of the matrix: files that packages ship, each as its package feeds it."""

from __future__ import annotations

from pathlib import Path

import onnx

from tests.matrix.entry import Entry, Input

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SILERO = "{models}/silero_vad/data"
RAPIDOCR = "{models}/rapidocr_onnxruntime/models"
MOS = "{models}/speechmos"

# Recipes that quantise activations by calibrated ranges.
STATIC = ("int8-static", "int8-static-percentile", "int8-static-entropy")

ENTRIES = (
    # An If on the sampling rate, an LSTM in each branch; axes without names (spox, opset 16).
    Entry(
        "silero vad",
        f"{SILERO}/silero_vad.onnx",
        {
            "input": Input(("batch", 576)),
            "state": Input((2, "batch", 128)),
            "sr": Input((), "int64", constant=16000),
        },
        state=(("stateN", "state"),),
    ),
    # Its free axis `sequence` takes one size only.
    Entry(
        "silero vad half",
        f"{SILERO}/silero_vad_half.onnx",
        {"input": Input(("batch", 576)), "state": Input((2, "batch", 128))},
        state=(("stateN", "state"),),
        known=dict.fromkeys(STATIC, "8-bit activations before its LSTM leave 13 dB at most"),
    ),
    # Many chunks a call; h and c fixed at a batch of 1.
    Entry(
        "silero vad sequence",
        f"{SILERO}/silero_vad_16k_sequence.onnx",
        {
            "input": Input((("sequence_length", 12), 576)),
            "h": Input((1, 1, 128)),
            "c": Input((1, 1, 128)),
        },
        state=(("hn", "h"), ("cn", "c")),
        known={
            "fp16": "44 dB of the 50 that half precision is held to",
            "int8-weights": "14.4 dB of the 15 that are asked for",
        },
    ),
    # Integers in, an infinite constant (tf2onnx from JAX, opset 15).
    Entry(
        "magika",
        "{models}/magika/models/standard_v3_3/model.onnx",
        {"bytes": Input(("batch", 2048), "int32", high=257)},
    ),
    # Three axes free, PaddlePaddle's names for them, opset 11 and 12.
    Entry(
        "rapidocr cls",
        f"{RAPIDOCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        {"x": Input(("batch", 3, ("x_2", 48), ("x_3", 96)))},
        known={
            "int8-static": "errors add up to 14.5 dB",
            "int8-static-percentile": "2 of 24 classes flip clearly",
            "int4-weights": "one of 24 classes flips clearly, too many for so few samples",
        },
    ),
    Entry(
        "rapidocr det",
        f"{RAPIDOCR}/ch_PP-OCRv4_det_infer.onnx",
        {"x": Input(("batch", 3, ("x_2", 64), ("x_3", 96)))},
        samples=16,
        known={
            **dict.fromkeys(
                STATIC, "on noise its probabilities are all near 0: one step of 8 bits"
            ),
            "fp16": "on noise its probabilities are all near 0: 28 dB",
            "int8-weights": "errors add up, no node breaks alone; on noise its answer is near 0",
        },
    ),
    Entry(
        "rapidocr rec",
        f"{RAPIDOCR}/ch_PP-OCRv4_rec_infer.onnx",
        {"x": Input(("batch", 3, 48, ("x_3", 96)))},
        samples=16,
        known={
            **dict.fromkeys(
                STATIC, "errors add up to 9 to 12 dB after a Softmax over 6,625 classes"
            ),
            "int4-weights": "errors add up to 13 dB after the same Softmax",
            "fp16": "errors add up to 44 dB after a Softmax over 6,625 classes",
        },
    ),
    # A CNN, then LSTMs that were unrolled when it was exported.
    Entry(
        "captcha crnn",
        "{models}/captcha_whisperer/models/captcha_crnn.onnx",
        {"image": Input(("batch", 3, 60, 160), unit=True)},
        samples=32,
    ),
    # YOLOv8 with its decoding.
    Entry(
        "nudenet",
        "{models}/nudenet/320n.onnx",
        {"images": Input(("batch", 3, 320, 320), unit=True)},
        samples=8,
    ),
    Entry(
        "basic pitch",
        "{models}/basic_pitch/saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2": Input(("batch", 43844, 1), unit=True)},
        samples=16,
        known={
            "export": "ill-conditioned: one float32 rounding of its input moves its outputs by "
            "1.4e-4, more than the float tolerance; so do ONNX Runtime's optimisations"
        },
    ),
    # Opset 9; a GRU; it declares a batch, but takes one sample only.
    Entry(
        "speechmos aecmos",
        f"{MOS}/aecmos_models/Run_1663915512_Stage_0.onnx",
        {
            "input": Input((1, 3, ("frames", 60), 160)),
            "h0": Input((4, 1, 64), constant=0),
        },
    ),
    # Opset 11; one output number for the whole batch.
    Entry(
        "speechmos plcmos",
        f"{MOS}/plcmos_models/plcmos_v2.onnx",
        {
            "degraded_audio": Input(("batch", 1, ("frames", 60), 257)),
            "rater_embed": Input(("batch", 64)),
        },
        samples=16,
    ),
    Entry(
        "speechmos dnsmos",
        f"{MOS}/dnsmos_models/model_v8.onnx",
        {"input_1": Input(("batch", 900, 120))},
        samples=8,
    ),
    # Real topologies with made-up weights, of 2018: opset 9, a batch of 1 built in,
    # initialisers that are inputs too.
    Entry(
        "light squeezenet",
        str(LIGHT / "light_squeezenet.onnx"),
        {"data_0": Input((1, 3, 224, 224))},
    ),
    Entry(
        "light shufflenet",
        str(LIGHT / "light_shufflenet.onnx"),
        {"data_0": Input((1, 3, 224, 224))},
    ),
)
