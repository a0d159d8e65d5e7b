"""Names, metadata and descriptions of people who mean harm: shown as text, or not at all."""

from __future__ import annotations

import html.parser
import json
import re
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wandb_ckpt.server.pages.markdown import markdown
from wandb_ckpt.server.pages.paths import Paths
from wandb_ckpt.server.store import artifacts, collections, runs

from .conftest import Shelf, checkpoint

EVIL = "<script>alert(1)</script>"
BREAKOUT = "\"'><img src=x onerror=alert(1)>"
REVERSED = "abc\u202egpj.exe\u2066"
HOSTILE = [
    EVIL,
    BREAKOUT,
    REVERSED,
    "{{ 7 * 7 }}{% raw %}",
    "\x00\x1b[31mred\x07",
    "x" * 5000,
    "مرحبا\u200f",
    "&lt;b&gt;",
]
TAGS = frozenset(
    re.findall(
        r"\w+",
        """
        a abbr bdi blockquote body br button circle code datalist dd details div dl dt em figcaption figure
        footer form g h1 h2 h3 h4 h5 h6 head header hr html img input label li line link main meta nav ol
        option p path pre script section span strong summary svg table tbody td text th thead time title tr
        ul
        """,
    )
)


class Checker(html.parser.HTMLParser):
    """Collects what a browser could be made to do by a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}")
            if name in ("href", "src", "action") and not re.match(r"(/(?!/)|#|\?|https?://|mailto:)", value or ""):
                self.found.append(f"{tag} {name}={value}")
            if name == "src" and not (value or "").startswith("/static/"):
                self.found.append(f"{tag} {name}={value}")


def assert_harmless(page: str) -> None:
    """No element, attribute or address that is not ours, and nothing that reorders or hides text."""
    assert Checker(page).found == []
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)


@pytest.fixture(scope="module")
def hostile(shelf: Shelf) -> list[str]:
    """Pages with everything hostile that gets past the client's own checks. Returns their paths."""
    name = f"evil {EVIL}?#%2f{BREAKOUT}".replace("/", "∕")
    run = shelf.run(
        name,
        f"run{BREAKOUT}",
        f"{EVIL}{REVERSED}",
        config={key: {"value": key} for key in HOSTILE},
        summary={key: [key, {key: key}] for key in HOSTILE},
        notes=f"{EVIL}\n\n[x](javascript:alert(1))",
        tags=[EVIL, 5, None],
        host=BREAKOUT,
        group_name=REVERSED,
    )
    runs.write_lines(shelf.db, run.id, "output", [(i, None, text) for i, text in enumerate(HOSTILE)])
    model = shelf.collection(name, f"m{BREAKOUT}".replace("/", ""), f"type{EVIL}".replace("/", "").replace(":", ""))
    metadata = {key: key for key in HOSTILE} | {"nested": {key: [key] for key in HOSTILE}, "surrogate": "\ud800"}
    for index in range(2):
        version = shelf.log(
            model,
            {
                **checkpoint(1, 0.5, monitor=EVIL, mode=BREAKOUT, logs={EVIL: 1.5}),
                "epoch": BREAKOUT,
                **metadata,
                "i": index,
            },
            [f"{EVIL}{number}".replace("/", "").replace(":", "") for number in range(100)] + ["best"],
            {f"{EVIL}{index}": b"x", f"dir/{REVERSED}": b"y", BREAKOUT: b"z"},
            f"# {EVIL}\n\n{BREAKOUT}\n\n[a](javascript:alert(1)) [b](data:text/html,x) <a href=x onclick=y>c</a>",
            run,
            {"r": "javascript:alert(1)", "s": f"https://example.com/{BREAKOUT}"},
        )
        artifacts.add_tags(shelf.db, version, [EVIL])
    artifacts.add_input(shelf.db, run.id, version)
    collections.update(shelf.db, model.id, name=None, description=f"{EVIL} {REVERSED}")

    to = Paths()
    here = ("local", name, model_type(shelf, model.id), model.name)
    return [
        "/local",
        to.project("local", name),
        to.run("local", name, run.name),
        to.model(*here),
        to.version(*here, "v1"),
        to.compare(*here, "v0", "v1"),
    ]


def model_type(shelf: Shelf, collection_id: int) -> str:
    """The name of a collection's type."""
    query = "SELECT t.name FROM artifact_types t JOIN collections c ON c.type_id = t.id WHERE c.id = ?"
    return str(shelf.db.value(query, collection_id))


@pytest.mark.parametrize("index", range(6))
def test_hostile_names_and_texts_do_nothing(visitor: httpx.Client, hostile: list[str], index: int) -> None:
    """Every page shows them as text: no foreign element, attribute or address, no reordered line."""
    answer = visitor.get(hostile[index])
    assert answer.status_code == 200
    assert_harmless(answer.text)
    assert "alert(1)" in answer.text
    assert "49" not in re.findall(r">([^<]*)<", answer.text)


def test_every_link_of_a_hostile_page_leads_somewhere(visitor: httpx.Client, hostile: list[str]) -> None:
    """Names with quotes, question marks and percent signs are quoted so that their own pages are found."""
    for path in hostile[1:]:
        page = visitor.get(path).text
        for href in set(re.findall(r'href="(/local[^"]*)"', page)):
            answer = visitor.get(html.unescape(href))
            assert answer.status_code == 200, href


def test_a_hundred_aliases_are_folded(visitor: httpx.Client, hostile: list[str]) -> None:
    """The table shows a few, the version's own page all of them."""
    table, own = visitor.get(hostile[3]).text, visitor.get(hostile[4]).text
    assert "96 more</summary>" in table
    assert "more</summary>" not in own
    assert own.count('class="badge"') == 100


def test_metadata_of_wrong_types_shows_dashes(visitor: httpx.Client, shelf: Shelf) -> None:
    """Numbers that are none, endless ones, and keys of other kinds break no page."""
    odd = shelf.collection("odd", "odd")
    values = [True, "0.5", [1], {"a": 1}, float("nan"), float("inf"), 10**400, -(10**18), 1e308, 5e-324, None, 0.25]
    for value in values:
        shelf.log(odd, {**checkpoint(0, None), "value": value, "best": value, "epoch": value, "batch": value})
    for metadata in (
        {"monitor": 5, "value": 1},
        {"monitor": ["x"], "value": 1},
        {"logs": [1]},
        {"logs": "x"},
        {"logs": {"a": {"b": 1}}},
    ):
        shelf.log(odd, metadata)
    count = len(values) + 5
    for path in ("", *(f"/v{i}" for i in range(count)), "/compare?a=v4&b=v11", "/compare?a=v6&b=v8"):
        answer = visitor.get(f"/local/odd/artifacts/model/odd{path}")
        assert answer.status_code == 200, path
        assert not re.search(r'(?:x|y|cx|cy|d)="[^"]*(?:nan|inf)', answer.text)


def test_metadata_that_is_no_object_is_none(visitor: httpx.Client, shelf: Shelf) -> None:
    """A list or a number in the place of metadata is shown as no metadata."""
    odd = shelf.collection("odd", "no-object")
    for text in ("[1, 2]", "5", '"x"', "null"):
        version = shelf.log(odd)
        with shelf.db.atomic():
            shelf.db.run("UPDATE artifacts SET metadata = ? WHERE id = ?", text, version)
    for path in ("", "/v0", "/v1", "/v2", "/v3", "/compare"):
        assert visitor.get(f"/local/odd/artifacts/model/no-object{path}").status_code == 200


def test_huge_texts_are_cut(visitor: httpx.Client, shelf: Shelf) -> None:
    """A megabyte in metadata or description neither fills the page nor keeps the server busy."""
    big = shelf.collection("odd", "big")
    shelf.log(big, {"text": "y" * 10**6, "deep": json.loads("[" * 800 + "]" * 800)}, description="[" * 10**6)
    answer = visitor.get("/local/odd/artifacts/model/big/v0")
    assert answer.status_code == 200
    assert len(answer.text) < 200_000


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](JAVASCRIPT:alert(1))",
        "[x](java\nscript:alert(1))",
        "[x](vbscript:x)",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example)",
        "[x][1]\n\n[1]: javascript:alert(1)",
        "<javascript:alert(1)>",
        "<img src=x onerror=alert(1)>",
        "![x](https://evil.example/pixel.png)",
        '[x](https://example.com "onmouseover=alert(1)")',
        "| a |\n|:--:|\n| <b onclick=x> |",
        "~~~<script>\nalert(1)\n~~~",
    ],
)
def test_markdown_keeps_only_harmless_links(text: str) -> None:
    """No script, no picture from elsewhere, no raw HTML; what is left of them is text."""
    page = str(markdown(text))
    assert_harmless(page)
    assert "<img" not in page
    for rel in re.findall(r"<a [^>]*>", page):
        assert 'rel="nofollow noopener noreferrer"' in rel


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.sampled_from("<>\"'`&[]()!|\\*_#-:/~=\n jaonx\u202e\ud800"), max_size=120))
def test_no_markdown_makes_foreign_html(text: str) -> None:
    """Whatever characters come together, only our own harmless elements come out."""
    assert_harmless(str(markdown(text)))


def test_markdown_fits_into_the_page() -> None:
    """Its headings come below the page's own, and its tables may be wider than a phone."""
    assert "<h3>Title</h3>" in markdown("# Title")
    assert '<div class="scroll"><table>' in markdown("| a |\n|---|\n| 1 |")
    assert '<td class="right">1</td>' in markdown("| a |\n|---:|\n| 1 |")


segments = st.lists(
    st.sampled_from(["local", "odd", "artifacts", "model", "runs", "v0", "compare", "files", "projects", "registry"])
    | st.text(max_size=12),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(segments, st.dictionaries(st.sampled_from(["a", "b", "page", "files", "selectionPath", "next"]), st.text()))
def test_no_address_breaks_a_page(visitor: httpx.Client, parts: list[str], query: dict[str, str]) -> None:
    """Whatever is asked for, the answer is a page, a redirect on this server, or a clear refusal."""
    path = "/".join(quote(part, safe="", errors="replace") for part in parts)
    address = f"{str(visitor.base_url).rstrip('/')}/{path}"  # httpx takes a relative one with // for another host's
    answer = visitor.get(address, params={key: value.encode("utf-8", "replace") for key, value in query.items()})
    assert answer.status_code in (200, 303, 404)
    assert answer.headers.get("location", "/").startswith("/")
    assert not answer.headers.get("location", "/").startswith("//")
