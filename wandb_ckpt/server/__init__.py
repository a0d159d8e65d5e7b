"""An embedded W&B server for one machine: `with Server() as server`.

The unmodified wandb client logs runs and artifacts to it, lists and downloads them; people look at pages. All data is
in one folder. It shares nothing but HTTP with the rest of the package.
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
