"""The HTML pages of the embedded server. They work without JavaScript.

`routes` comes last in the table of routes, because `/<entity>/<project>` matches many paths. `error_page()` makes the
page for an error at any other URL.
"""

from __future__ import annotations

from wandb_ckpt.server.pages.error_page import error_page, wants_page
from wandb_ckpt.server.pages.routes import routes

__all__ = ["error_page", "routes", "wants_page"]
