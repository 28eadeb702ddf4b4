"""The gate between workstation and device: trained model in, checked bundle out."""

import train  # noqa: F401  (chooses the Keras version, which must precede any TensorFlow import)
