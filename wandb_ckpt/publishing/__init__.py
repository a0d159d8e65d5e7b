"""The background: publishes checkpoints in order, deletes old versions and files, links the best versions."""
