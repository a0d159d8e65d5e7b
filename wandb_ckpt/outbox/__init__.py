"""The checkpoints on this disk that wait to be published: frozen bytes, and a record of each."""
