"""The addresses that the real wandb client prints lead to the right pages, with what it logged."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import checkpoint


@pytest.fixture
def logged(start_run: Any, log: Any) -> tuple[Any, list[Any]]:
    """A run with three versions of one model, logged by the client, the second of which another run used."""
    with start_run(config={"lr": 0.25}, name="gentle-fog-3") as run:
        run.log({"val_loss": 0.4})
        versions = [
            log(
                run,
                "digits",
                {"model.keras": b"%d" % epoch * 100},
                [f"epoch_{epoch}", *(["best"] if epoch < 2 else [])],
                metadata=checkpoint(epoch, value, 0.2),
                description=f"**val_loss = {value}**",
            )
            for epoch, value in enumerate([0.4, 0.2, 0.3])
        ]
    with start_run(name="quick-moss-4") as user:
        user.use_artifact(versions[1])
    return run, versions


def test_printed_addresses_lead_to_pages(http: httpx.Client, logged: tuple[Any, list[Any]]) -> None:
    """Run, project, artifact and version: a click in the terminal finds the page."""
    run, versions = logged
    assert "gentle-fog-3</bdi></h1>" in http.get(run.url).text
    assert "digits</a>" in http.get(run.project_url).text
    for version in versions:
        page = http.get(version.url)
        assert page.status_code == 200
        assert f"</span>{version.version}</h1>" in page.text


def test_pages_show_what_the_client_logged(http: httpx.Client, logged: tuple[Any, list[Any]]) -> None:
    """Aliases, values, description, files, config, summary and lineage arrive on the pages."""
    run, versions = logged
    model = http.get(versions[0].url.rpartition("/")[0]).text
    assert '<tr role="row" class="is-best">' in model
    assert "<title>v1: 0.2 (best)</title>" in model
    version = http.get(versions[1].url).text
    assert "<strong>val_loss = 0.2</strong>" in version
    assert "quick-moss-4" in version
    page = http.get(run.url).text
    assert ">0.25</span>" in page
    assert ">0.4</span>" in page
    assert "digits:v2</a>" in page
    assert "finished</span>" in page


def test_a_file_downloads_from_the_page(http: httpx.Client, logged: tuple[Any, list[Any]]) -> None:
    """The link beside a file gives the bytes that the client uploaded."""
    assert http.get(f"{logged[1][2].url}/files/model.keras").content == b"2" * 100


def test_the_line_to_copy_is_what_the_client_understands(
    http: httpx.Client, api: Any, logged: tuple[Any, list[Any]]
) -> None:
    """The ref in `wandb artifact get …` is found by the client."""
    page = http.get(logged[1][0].url.rpartition("/")[0]).text
    ref = page.split("wandb artifact get ")[1].split("<")[0]
    assert api.artifact(ref).version == "v1"


def test_a_linked_version_has_a_page_in_both_places(
    http: httpx.Client, api: Any, logged: tuple[Any, list[Any]]
) -> None:
    """The address that the client gives for a link ends on its page, which names the source, and the other way."""
    run, versions = logged
    path = f"{run.entity}/{run.project}/champions"
    versions[1].link(path)
    page = http.get(api.artifact(f"{path}:latest").url, follow_redirects=True)
    assert page.status_code == 200
    assert f"{run.entity}/{run.project}/digits:v1</code>" in page.text
    assert f"{run.project}/champions:v0" in http.get(versions[1].url).text
