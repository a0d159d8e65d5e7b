"""Saves of a model: atomic, in the background, with all that Keras's own save has."""
