"""The rules, as pure functions: the best checkpoint, retention, names, metadata, descriptions, settings."""
