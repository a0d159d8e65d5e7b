"""The callback in the training thread: hooks, fixes for Keras's ModelCheckpoint, preemption, resume."""
