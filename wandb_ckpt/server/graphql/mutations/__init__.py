"""The writing side of the GraphQL schema: one function per mutation, from context and input to payload."""
