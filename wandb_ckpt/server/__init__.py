"""An embedded W&B server for one machine: `with Server() as server`.

The unmodified wandb client logs runs and artifacts to it, lists them and downloads them. Users see them on pages. All
data is in one folder. The server and the rest of the package share HTTP only.

From top to bottom (a package imports from lower floors only):

- `server`: starts and stops the server; `app`: the table of routes
- `pages`: the HTML pages; `graphql`: the API of the client
- `http`: access, request bodies, uploads, downloads, the stream of a run
- `versions`: commit, manifests, aliases, removal, sweep, blobs
- `store`: the rows, in SQLite
- `ids`, `names`, `json_text`, `run_lines`, `errors`
"""

try:
    import graphql as _graphql  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"The embedded server needs the package {error.name!r}. Install it with: pip install 'wandb-ckpt[server]'"
    ) from error

from wandb_ckpt.server.errors import DataFolderError, PortInUseError, ServerError
from wandb_ckpt.server.http.services import UnhandledRequest
from wandb_ckpt.server.server import Server, ServerInfo, serve
from wandb_ckpt.server.versions.sweep import Freed, collect_garbage

__all__ = [
    "DataFolderError",
    "Freed",
    "PortInUseError",
    "Server",
    "ServerError",
    "ServerInfo",
    "UnhandledRequest",
    "collect_garbage",
    "serve",
]
