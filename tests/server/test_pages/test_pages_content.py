"""What the pages show of projects, models, versions and runs."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import httpx
import pytest
import web

from .conftest import Shelf, checkpoint

VALUES = [0.9, 0.5, 0.7, None, 0.3, 0.4]


@pytest.fixture(scope="module")
def digits(shelf: Shelf) -> str:
    """A project with one model of six versions, one of them without a value, and a run."""
    run = shelf.run(
        "digits",
        "r1",
        "amber-lake-7",
        config={"lr": {"value": 0.125}, "_wandb": {"value": {"t": {}}}},
        summary={"best_val_loss": 0.3, "_runtime": 12},
        tags=["baseline"],
    )
    model = shelf.collection("digits", "run_r1_model")
    for epoch, value in enumerate(VALUES):
        aliases = [f"epoch_{epoch}", *(["best"] if value == 0.3 else [])]
        files = {"model.keras": b"%d" % epoch * 1500, **({"extra.txt": b"more"} if epoch == 4 else {})}
        shelf.log(model, checkpoint(epoch, value, 0.3), aliases, files, f"**epoch {epoch}**", run)
    return "/local/digits"


@pytest.fixture(scope="module")
def model(digits: str) -> str:
    """The path of that model's page."""
    return f"{digits}/artifacts/model/run_r1_model"


def test_home_leads_to_projects_and_they_to_models_and_runs(visitor: httpx.Client, digits: str, model: str) -> None:
    """Each list links to the next page, under the addresses that W&B has."""
    assert f'href="{digits}"' in visitor.get("/").text
    project = visitor.get(digits).text
    assert f'href="{model}"' in project
    assert f'href="{digits}/runs/r1"' in project
    assert "val_loss" in project
    assert "0.3" in project


def test_an_empty_server_says_how_to_begin() -> None:
    """The first page of a new server shows the line that points wandb at it."""
    from wandb_ckpt.server.server import Server

    with Server() as server:
        page = web.get(server.url, auth=("api", server.api_key))
        assert f"wandb login --host {server.url}" in page.text


def test_the_model_page_lists_versions_newest_first(visitor: httpx.Client, model: str) -> None:
    """Every version is a row with its value, and the table's header tells what it is."""
    page = visitor.get(model).text
    assert re.findall(r'c-version"><a href="[^"]*/(v\d+)"', page) == ["v5", "v4", "v3", "v2", "v1", "v0"]
    assert [cell.strip() for cell in re.findall(r'c-value right number">([^<]*)</td>', page)] == [
        "0.4", "0.3", "–", "0.7", "0.5", "0.9",
    ]  # fmt: skip
    assert re.search(r"<th[^>]*><a[^>]*>val_loss</a></th>", page)


def test_best_and_latest_stand_out(visitor: httpx.Client, model: str) -> None:
    """The two aliases have badges of their own, and the best version's row is marked."""
    page = visitor.get(model).text
    assert '<span class="badge best">best</span>' in page
    assert '<span class="badge latest">latest</span>' in page
    assert len(re.findall(r'class="is-best"', page)) == 1


def test_the_model_page_has_the_lines_to_copy(visitor: httpx.Client, model: str) -> None:
    """They fetch the best version, with wandb's command line and with `restore`."""
    page = visitor.get(model).text
    assert "wandb artifact get local/digits/run_r1_model:best</code>" in page
    assert "wandb_ckpt.restore(model, &#34;local/digits/run_r1_model:best&#34;)</code>" in page


def test_the_plot_shows_values_and_a_gap(visitor: httpx.Client, model: str) -> None:
    """Each known value is a point with a title, the best is marked, and the missing one interrupts the line."""
    page = visitor.get(model).text
    wide = page[page.index('<svg class="plot wide"') : page.index('<svg class="plot narrow"')]
    titles = re.findall(r"<title>([^<]*)</title>", wide)
    assert titles == ["v0: 0.9", "v1: 0.5", "v2: 0.7", "v4: 0.3 (best)", "v5: 0.4"]
    assert re.search(r'd="([^"]*)"', wide)[1].count("M") == 2  # type: ignore[index]
    assert 'aria-label="val_loss over the versions; best: v4 with 0.3"' in wide


def test_versions_of_others_show_a_dash(visitor: httpx.Client, shelf: Shelf) -> None:
    """Without the callback's metadata there is a table without values, and no plot."""
    data = shelf.collection("digits", "some-data", "dataset")
    shelf.log(data, {"rows": 3}, files={"a.csv": b"1,2"})
    shelf.log(data, None)
    page = visitor.get("/local/digits/artifacts/dataset/some-data").text
    assert page.count('c-value right number">–') == 2
    assert "<svg" not in page
    assert "restore(" not in page


def test_long_lists_have_pages(visitor: httpx.Client, shelf: Shelf) -> None:
    """10,000 versions are shown in parts; the plot keeps every peak of all of them."""
    long = shelf.collection("digits", "long")
    with shelf.db.atomic():
        for index in range(10_000):
            shelf.log(long, checkpoint(index, 99.5 if index == 4321 else 1.0), ["best"] if index == 17 else [])
    path = "/local/digits/artifacts/model/long"
    first, last, beyond = (visitor.get(f"{path}?page={number}").text for number in (1, 200, 99999))
    assert "1–50 of 10,000" in first
    assert "/v9999" in first
    assert re.findall(r'c-version"><a href="[^"]*/(v\d+)"', last)[-1] == "v0"
    assert "9,951–10,000 of 10,000" in beyond
    assert "<title>v4321: 99.5</title>" in first
    assert "<title>v17: 1 (best)</title>" in first
    assert first.count("<circle") < 600


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", "v4 v3 v2 v1 v0"),
        ("version", "v0 v1 v2 v3 v4"),
        ("value", "v1 v3 v0 v4 v2"),
        ("-value", "v0 v3 v1 v4 v2"),
        ("-epoch", "v3 v2 v1 v0 v4"),
        ("size", "v4 v2 v1 v0 v3"),
        ("run", "v0 v4 v3 v2 v1"),
        ("age", "v4 v3 v2 v1 v0"),
        ("-nonsense';--", "v4 v3 v2 v1 v0"),
    ],
)
def test_versions_are_sorted_by_column(visitor: httpx.Client, shelf: Shelf, sort: str, expected: str) -> None:
    """Each column sorts the versions; those that have nothing in it come last, whatever the direction."""
    model = shelf.collection("digits", "sorted")
    if not shelf.db.value("SELECT 1 FROM memberships WHERE collection_id = ?", model.id):
        run = shelf.run("digits", "sorted-run", "Amber")
        for epoch, (value, length) in enumerate([(0.9, 30), (0.1, 20), (None, 10), (0.5, 40)]):
            shelf.log(model, checkpoint(epoch, value), [], {"f": b"x" * length}, run=run if epoch == 0 else None)
        shelf.log(model, {"value": "0.2", "epoch": True}, [], {"f": b"x"})
    page = visitor.get("/local/digits/artifacts/model/sorted", params={"sort": sort}).text
    assert re.findall(r'c-version"><a href="[^"]*/(v\d+)"', page) == expected.split()
    assert page.count("aria-sort=") == 1


def test_a_sorted_list_stays_sorted_from_page_to_page(visitor: httpx.Client, shelf: Shelf) -> None:
    """The links to the other pages keep the order, and a click on the column turns it round."""
    model = shelf.collection("digits", "sorted-pages")
    with shelf.db.atomic():
        for index in range(120):
            shelf.log(model, checkpoint(index, float(index * 7 % 120)))
    path = "/local/digits/artifacts/model/sorted-pages"
    seen, link = [], "?sort=value"
    while link:
        page = visitor.get(path + link).text
        seen += [int(version) * 7 % 120 for version in re.findall(r'c-version"><a href="[^"]*/v(\d+)"', page)]
        found = re.search(r'rel="next" href="([^"]*)"', page)
        link = found[1].replace("&amp;", "&") if found else ""
    assert seen == list(range(120))
    assert 'aria-sort="ascending"><a href="?sort=-value#versions"' in page


def test_the_time_to_live_is_a_date(visitor: httpx.Client, shelf: Shelf) -> None:
    """A version that is kept for a time says until when."""
    version = shelf.log(shelf.collection("digits", "short-lived"), None)
    with shelf.db.atomic():
        sql = "UPDATE artifacts SET ttl_seconds = 86400, created_at = '2026-01-01T07:08:09Z' WHERE id = ?"
        shelf.db.run(sql, version)
    page = visitor.get("/local/digits/artifacts/model/short-lived/v0").text
    assert "for 1 day (TTL), until 2026-01-02 07:08:09 UTC" in page


def test_the_version_page_shows_everything(visitor: httpx.Client, digits: str, model: str) -> None:
    """Description, metadata, files, lineage, neighbours and lines to copy."""
    page = visitor.get(f"{model}/v4").text
    for expected in (
        "<strong>epoch 4</strong>",
        '<th scope="row">keras_version</th><td><bdi>3.12.0</bdi></td>',
        f'href="{model}/v4/files/model.keras"',
        f'href="{digits}/runs/r1"',
        f'rel="prev" href="{model}/v3"',
        f'rel="next" href="{model}/v5"',
        f'href="{model}/compare?a=v3&amp;b=v4"',
        "wandb artifact get local/digits/run_r1_model:v4</code>",
        "1.5 kB",
    ):
        assert expected in page, expected


def test_an_alias_names_a_version(visitor: httpx.Client, model: str) -> None:
    """The page of `best` is the page of the version that has it."""
    assert "run_r1_model<span" in visitor.get(f"{model}/best").text
    assert "v4</h1>" in visitor.get(f"{model}/best").text


def test_files_are_downloaded_byte_for_byte(visitor: httpx.Client, model: str) -> None:
    """A file's link gives its bytes, to be saved under its name and never shown by the browser."""
    answer = visitor.get(f"{model}/v4/files/model.keras")
    assert answer.content == b"4" * 1500
    assert answer.headers["content-disposition"] == 'attachment; filename="model.keras"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]
    part = visitor.get(f"{model}/v4/files/model.keras", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, b"4" * 10)


@pytest.mark.parametrize("path", ["missing.bin", "../../../secret", "%2e%2e/%2e%2e/secret", "/etc/passwd", "%01"])
def test_no_path_leads_out_of_a_version(visitor: httpx.Client, model: str, path: str) -> None:
    """Whatever follows files/ is only ever looked up among the version's files."""
    assert visitor.get(f"{model}/v4/files/{path}").status_code in (303, 404)


def test_references_are_named_not_served(visitor: httpx.Client, shelf: Shelf) -> None:
    """A web reference is a link, any other is text, and neither can be downloaded here."""
    data = shelf.collection("digits", "refs", "dataset")
    shelf.log(data, refs={"web": "https://example.com/a", "bucket": "s3://bucket/a", "bad": "javascript:alert(1)"})
    path = "/local/digits/artifacts/dataset/refs/v0"
    page = visitor.get(path).text
    assert 'href="https://example.com/a" rel="nofollow noopener noreferrer"' in page
    assert "<code>s3://bucket/a</code>" in page
    assert 'href="javascript' not in page
    assert visitor.get(f"{path}/files/web").status_code == 404


def test_compare_puts_what_differs_first(visitor: httpx.Client, model: str) -> None:
    """Differing metadata and files come with the difference; the same ones are folded."""
    page = visitor.get(f"{model}/compare?a=v2&b=best").text
    differing, same = page.split("<details", 1)
    assert '<th scope="row">value</th><td><bdi>0.7</bdi></td><td><bdi>0.3</bdi></td>' in differing
    assert "−0.4" in differing
    assert "keras_version" not in differing
    assert "keras_version" in same
    assert '<bdi>extra.txt</bdi></th><td><span class="change added">added</span>' in page
    assert '<bdi>model.keras</bdi></th><td><span class="change changed">changed</span>' in page
    assert 'change removed">removed' in visitor.get(f"{model}/compare?a=best&b=v2").text


def test_compare_without_versions_takes_the_last_two(visitor: httpx.Client, model: str) -> None:
    """The bare address is useful too, and asks for others."""
    page = visitor.get(f"{model}/compare").text
    assert "<h1>v4 and v5</h1>" in page
    assert '<input name="a" value="v4"' in page


def test_the_run_page_shows_config_summary_and_versions(visitor: httpx.Client, digits: str, model: str) -> None:
    """W&B's own entries are left out; the logged versions lead to their pages."""
    page = visitor.get(f"{digits}/runs/r1").text
    assert re.search(r">lr</th><td><span[^>]*>0.125<", page)
    assert re.search(r">best_val_loss</th><td><span[^>]*>0.3<", page)
    assert "_wandb" not in page
    assert "_runtime" not in page
    assert f'href="{model}/v5"' in page
    assert "#baseline" in page


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/local/projects", "/local"),
        ("/local/digits/workspace", "/local/digits"),
        ("/local/digits/artifacts", "/local/digits#models"),
        ("/local/digits/runs", "/local/digits#runs"),
        ("/local/digits/runs/r1/logs", "/local/digits/runs/r1#console"),
        ("/local/digits/artifacts/dataset/run_r1_model", "/local/digits/artifacts/model/run_r1_model"),
        (
            "/local/digits/artifacts/model/run_r1_model/v4/files",
            "/local/digits/artifacts/model/run_r1_model/v4#files",
        ),
        (
            "/orgs/local/registry/model?selectionPath=local%2Fdigits%2Frun_r1_model&view=membership&version=v4",
            "/local/digits/artifacts/model/run_r1_model/v4",
        ),
        (
            "/local/registry/model?selectionPath=local%2Fdigits%2Frun_r1_model",
            "/local/digits/artifacts/model/run_r1_model",
        ),
    ],
)
def test_addresses_of_wandb_lead_to_our_pages(visitor: httpx.Client, digits: str, path: str, leads_to: str) -> None:
    """What W&B's own site and the client's links use arrives at the page with that content."""
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, leads_to)


def test_a_type_is_an_address_of_its_project(visitor: httpx.Client, digits: str, model: str) -> None:
    """`…/artifacts/model` shows the project's models."""
    assert f'href="{model}"' in visitor.get(f"{digits}/artifacts/model").text


@pytest.mark.parametrize(
    "path",
    [
        "/nobody",
        "/local/nothing",
        "/local/digits/nothing",
        "/local/digits/runs/nothing",
        "/local/digits/artifacts/model/nothing",
        "/local/digits/artifacts/model/run_r1_model/v00",  # as in GraphQL: only v0 is a number
        "/local/digits/artifacts/model/run_r1_model/v99",
        "/local/digits/artifacts/model/run_r1_model/v99999999999999999999999",
        "/local/digits/artifacts/model/run_r1_model/nothing",
        "/local/digits/artifacts/model/run_r1_model/v0/nothing",
        "/local/digits/artifacts/model/run_r1_model/compare?a=nothing",
        "/local/registry/model?selectionPath=x",
        "/static/nothing.css",
        "/static/..%2fpages.py",
    ],
)
def test_what_is_not_there_is_a_friendly_404(visitor: httpx.Client, digits: str, path: str) -> None:
    """A page that says so and leads home, not JSON."""
    answer = visitor.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "Not found" in answer.text
    assert 'href="/"' in answer.text


def test_a_failure_is_a_friendly_500(visitor: httpx.Client, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged row gives a page without details; those are in the server's log."""
    broken = shelf.collection("digits", "broken")
    version = shelf.log(broken, {"a": 1})
    with shelf.db.atomic():
        shelf.db.run("UPDATE artifacts SET metadata = '{damaged' WHERE id = ?", version)
    answer = visitor.get("/local/digits/artifacts/model/broken/v0")
    assert answer.status_code == 500
    assert "Server error" in answer.text
    assert "damaged" not in answer.text
    while "JSONDecodeError" not in caplog.text:  # the log is written behind the answer
        time.sleep(0.05)
    with shelf.db.atomic():
        shelf.db.run("UPDATE artifacts SET metadata = '{}' WHERE id = ?", version)


def test_every_page_forbids_what_it_does_not_need(visitor: httpx.Client, digits: str, model: str) -> None:
    """The policy allows no inline script or style, and the pages have none; nobody may frame or cache them."""
    for path in ("/", digits, model, f"{model}/v4", f"{model}/compare", f"{digits}/runs/r1", "/login", "/nobody"):
        answer = visitor.get(path, follow_redirects=True)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "no-cache" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<style|style=|<script>|\son\w+=|javascript:", answer.text)


def test_headings_and_tables_are_in_order_for_screen_readers(visitor: httpx.Client, digits: str, model: str) -> None:
    """One h1 on each page, no level left out, and every column and row header says which it is."""
    for path in ("/", digits, model, f"{model}/v4", f"{model}/compare", f"{digits}/runs/r1"):
        page = visitor.get(path).text
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page)]
        assert levels.count(1) == 1
        assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
        assert not re.search(r"<th(?![^>]*scope=)[ >]", page)
        assert '<html lang="en">' in page


def test_static_files_are_kept_by_browsers(visitor: httpx.Client) -> None:
    """With their digest in the address they never change; without it they are asked for and answered with 304."""
    address = re.search(r'href="(/static/pages.css\?v=\w+)"', visitor.get("/").text)[1]  # type: ignore[index]
    pinned = visitor.get(address)
    assert "immutable" in pinned.headers["cache-control"]
    assert pinned.headers["content-type"] == "text/css; charset=utf-8"
    plain = visitor.get("/static/pages.css", headers={"If-None-Match": pinned.headers["etag"]})
    assert (plain.status_code, plain.content) == (304, b"")
    assert visitor.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
