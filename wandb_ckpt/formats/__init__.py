"""The files of Keras checkpoints, without Keras: HDF5, shards, comparison, safe reading."""
