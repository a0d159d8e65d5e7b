"""Keras checkpoints as versions of Weights & Biases artifacts."""
