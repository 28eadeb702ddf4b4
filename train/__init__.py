"""The workstation: radiographs and labels in, float and quantization-aware models out."""

import os

# tensorflow-model-optimization knows only Keras 2, and TensorFlow reads this once, at import.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
