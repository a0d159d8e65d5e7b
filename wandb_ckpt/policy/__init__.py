"""The rules, as pure functions: what is best, which versions may go, names, metadata, descriptions."""
