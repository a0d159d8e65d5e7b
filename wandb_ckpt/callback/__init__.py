"""The training thread: the hooks of the callback, what they repair in Keras's, preemption, resume."""
