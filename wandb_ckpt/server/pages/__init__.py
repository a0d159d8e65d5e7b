"""The HTML pages of the embedded server, for people with a browser: made here, no JavaScript needed.

`routes` goes last into the app's route table, because `/<entity>/<project>` matches much. A page for an
error on any other URL is made by `error_page()`.
"""

from __future__ import annotations

from wandb_ckpt.server.pages.error_page import error_page, wants_page
from wandb_ckpt.server.pages.routes import routes

__all__ = ["error_page", "routes", "wants_page"]
