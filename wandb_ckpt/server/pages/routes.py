"""The routes of the pages. They are the addresses that the wandb client prints and W&B has."""

from __future__ import annotations

from starlette.routing import Route

from wandb_ckpt.server.pages.assets import serve_asset, serve_icon
from wandb_ckpt.server.pages.compare_page import compare_page
from wandb_ckpt.server.pages.error_page import FRIENDLY_ERRORS
from wandb_ckpt.server.pages.login_page import login_routes
from wandb_ckpt.server.pages.login_sessions import page_route
from wandb_ckpt.server.pages.model_page import model_page, registry_entry
from wandb_ckpt.server.pages.project_page import (
    entity_page,
    entity_projects,
    home_page,
    project_page,
    project_tab,
)
from wandb_ckpt.server.pages.run_page import run_page, run_tab
from wandb_ckpt.server.pages.version_page import file_download, version_page, version_tab

__all__ = ["routes"]

_PROJECT = "/{entity}/{project}"
_MODEL = f"{_PROJECT}/artifacts/{{type}}/{{name}}"
_VERSION = f"{_MODEL}/{{version}}"

routes: list[Route] = [
    *login_routes,
    Route("/static/{name}", serve_asset, middleware=FRIENDLY_ERRORS),
    Route("/favicon.ico", serve_icon),
    page_route("/", home_page),
    page_route("/orgs/{organization}/registry/{kind}", registry_entry),
    page_route("/{entity}/registry/{kind}", registry_entry),
    page_route("/{entity}/projects", entity_projects),
    page_route("/{entity}", entity_page),
    page_route(_PROJECT, project_page),
    page_route(f"{_PROJECT}/runs/{{run}}", run_page),
    page_route(f"{_PROJECT}/runs/{{run}}/{{tab}}", run_tab),
    page_route(f"{_PROJECT}/artifacts/{{type}}", project_page),
    page_route(f"{_PROJECT}/{{tab}}", project_tab),
    page_route(_MODEL, model_page),
    page_route(f"{_MODEL}/compare", compare_page),
    page_route(_VERSION, version_page),
    page_route(f"{_VERSION}/files/{{path:path}}", file_download),
    page_route(f"{_VERSION}/{{tab}}", version_tab),
]
