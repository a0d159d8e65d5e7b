"""Checkpoint files, read and written without Keras: HDF5, shards, comparison, safety checks."""
