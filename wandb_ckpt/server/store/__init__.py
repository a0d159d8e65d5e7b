"""The rows of the embedded server: the only package with SQL in it.

Every function takes the open `Database` first and returns frozen records. Reading for people (pages) is in
`overview`; the other modules are named after what they keep:

- `database`: connections, transactions, migrations
- `records`: the frozen records that leave this package
- `accounts`: users (each is also an entity) and hashed API keys
- `projects` (with artifact types), `runs` (with lines and files)
- `collections` (with memberships, aliases, tags), `artifacts` (with lineage), `contents` (manifests, files), `parts`
"""

from wandb_ckpt.server.store.database import Database

__all__ = ["Database"]
