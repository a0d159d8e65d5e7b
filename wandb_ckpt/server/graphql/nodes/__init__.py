"""The reading side of the GraphQL schema: one class per type, one attribute or method per field.

A field `directUrl` is read from `direct_url`; a method gets the field's arguments. `binding` does the wiring.
"""
