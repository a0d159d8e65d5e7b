"""Versions of artifacts: their bytes, manifests, aliases and removal."""
