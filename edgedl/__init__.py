"""edgedl: from a trained Keras or PyTorch model to a verified, quantised ONNX bundle."""

__version__ = "0.1.0"
