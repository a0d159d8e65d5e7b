"""The fields of the GraphQL types, in one class for each type. No module here needs another one."""
