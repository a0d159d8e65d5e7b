"""The writing side of the GraphQL schema: one function per mutation, from the context and its input to the payload."""
