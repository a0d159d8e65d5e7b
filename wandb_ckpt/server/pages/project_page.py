"""The pages of an entity and of a project."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.pages.facts import facts_of
from wandb_ckpt.server.pages.login_sessions import Visit
from wandb_ckpt.server.pages.tables import paging
from wandb_ckpt.server.store import collections, page_rows, projects, runs

__all__ = ["entity_page", "entity_projects", "home_page", "project_page", "project_tab"]

_RUNS = 50
_COLLECTIONS = 100
# The tabs of a project in W&B that are sections of this page.
_TABS = {"artifacts": "models", "models": "models", "runs": "runs"}
_OTHER_TABS = frozenset({"overview", "workspace", "table", "jobs", "reports", "sweeps"})


def home_page(visit: Visit) -> Response:
    """Show all projects of the user."""
    return _projects_of_visitor(visit)


def entity_page(visit: Visit) -> Response:
    """Show all projects of an entity."""
    visit.view.entity(visit.named("entity"))
    return _projects_of_visitor(visit)


def entity_projects(visit: Visit) -> Response:
    """Redirect from the address of an entity in W&B, unless a project is named "projects"."""
    visit.view.entity(visit.named("entity"))
    visit.request.path_params["project"] = "projects"
    if projects.named(visit.db, visit.user.id, "projects"):
        return project_page(visit)
    return RedirectResponse(visit.to.entity(visit.user.name), 303)


def project_page(visit: Visit) -> Response:
    """Show the models, other artifacts and runs of a project."""
    project = visit.find_project()
    models_page = paging(
        visit.asked("models"), _COLLECTIONS, collections.count_in_project(visit.db, project.id), "models"
    )
    runs_page = paging(visit.asked("runs"), _RUNS, runs.count_in_project(visit.db, project.id), "runs")
    found = page_rows.collections(visit.db, project.id, models_page.per_page, models_page.offset)
    return visit.page(
        "project.html",
        entity=visit.user.name,
        project=project,
        collections=[(item, item.latest and facts_of(item.latest.metadata)) for item in found],
        collection_paging=models_page,
        runs=page_rows.runs(visit.db, project.id, runs_page.per_page, runs_page.offset),
        run_paging=runs_page,
    )


def project_tab(visit: Visit) -> Response:
    """Redirect from the addresses of tabs in W&B."""
    project, tab = visit.find_project(), visit.named("tab")
    if tab not in _TABS and tab not in _OTHER_TABS:
        raise NotFoundError("There is no such page.")
    anchor = f"#{_TABS[tab]}" if tab in _TABS else ""
    return RedirectResponse(visit.to.project(visit.user.name, project.name) + anchor, 303)


def _projects_of_visitor(visit: Visit) -> Response:
    return visit.page(
        "projects.html",
        entity=visit.user.name,
        projects=page_rows.projects(visit.db, visit.user.id),
        base_url=str(visit.request.base_url).rstrip("/"),
    )
