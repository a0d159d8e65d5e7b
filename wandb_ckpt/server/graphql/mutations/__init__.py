"""The mutations of the GraphQL schema. Each function in `__all__` is one: `upsert_bucket` answers `upsertBucket`."""
