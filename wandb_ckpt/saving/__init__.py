"""Saving models: atomically, in the background, complete."""
