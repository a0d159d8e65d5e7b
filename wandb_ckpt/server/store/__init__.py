"""The rows of the embedded server: the only package with SQL.

Functions take the open `Database` first and return frozen records.

- `database`: connections and transactions; `migrations`: the layout of the file
- `records`: the frozen records that this package returns
- `accounts`: users (each is also an entity) and the digests of their API keys
- `projects` (with artifact types), `runs` (with lines and files)
- `collections` (with memberships, aliases and tags), `artifacts` (with lineage)
- `contents`: manifests, objects and their parts, files of versions
- `user_view`: the rows that one user may see; `page_rows`: summaries for the pages; `garbage`: what a sweep removes
"""

from wandb_ckpt.server.store.database import Database

__all__ = ["Database"]
