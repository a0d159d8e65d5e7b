"""Getting in: the login form, the session, logging out, and what strangers see."""

from __future__ import annotations

import httpx
import pytest
import web

from wandb_ckpt.server.server import Server

PAGES = ["/", "/local", "/local/digits", "/local/digits/runs/r1", "/local/digits/artifacts/model/m"]
PAGES += [f"{PAGES[-1]}/v0", f"{PAGES[-1]}/compare?a=v0&b=v1", f"{PAGES[-1]}/v0/files/model.keras"]


@pytest.mark.parametrize("path", PAGES)
def test_strangers_get_the_login_form_on_every_page(stranger: httpx.Client, path: str) -> None:
    """Without a session there is nothing but the form, with status 401, and it leads back to the page."""
    answer = stranger.get(path)
    assert answer.status_code == 401
    assert 'name="key"' in answer.text
    assert f'name="next" value="{path.replace("&", "&amp;")}"' in answer.text
    assert "www-authenticate" not in answer.headers


def test_the_key_opens_the_page_that_was_asked_for(stranger: httpx.Client, pages_server: Server) -> None:
    """A valid key leads on to the wanted page, which the session then opens."""
    answer = stranger.post("/login", data={"key": f" {pages_server.api_key}\n", "next": "/local"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/local")
    assert stranger.get("/local").status_code == 200


def test_the_session_cookie_is_for_this_server_only(stranger: httpx.Client, pages_server: Server) -> None:
    """Scripts and other sites can't use the cookie, and it does not hold the key."""
    cookie = stranger.post("/login", data={"key": pages_server.api_key}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert pages_server.api_key not in cookie


@pytest.mark.parametrize("key", ["", "f" * 64, "<script>", "ключ" * 20, "x" * 9000])
def test_a_wrong_key_is_refused_with_the_form_again(stranger: httpx.Client, key: str) -> None:
    """Whatever is sent as a key, the answer is 401, says why, and does not repeat it."""
    answer = stranger.post("/login", data={"key": key, "next": "/local"})
    assert answer.status_code == 401
    assert "does not know this key" in answer.text
    assert 'name="next" value="/local"' in answer.text
    assert "<script>" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_changed_cookie_opens_nothing(visitor: httpx.Client) -> None:
    """A session that this server did not sign is none."""
    (cookie,) = visitor.cookies
    user, expires, signature = visitor.cookies[cookie].split(".")
    for forged in (f"{int(user) + 1}.{expires}.{signature}", f"{user}.{int(expires) + 1}.{signature}", "a.b.c", "1"):
        answer = web.get(f"{visitor.base_url}/local", cookies={cookie: forged})
        assert answer.status_code == 401


def test_logging_out_ends_the_session(visitor: httpx.Client) -> None:
    """The button takes the cookie away and leads to the form."""
    assert visitor.get("/").status_code == 200
    assert visitor.post("/logout").headers["location"] == "/login"
    assert visitor.get("/").status_code == 401


def test_the_form_leads_on_who_is_logged_in_already(visitor: httpx.Client) -> None:
    """`/login` is no dead end for those who are in."""
    assert visitor.get("/login?next=/local").headers["location"] == "/local"


@pytest.mark.parametrize(
    "foreign",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\n//evil.example"],
)
def test_the_form_leads_to_no_other_site(stranger: httpx.Client, pages_server: Server, foreign: str) -> None:
    """A crafted `next` is replaced by the first page."""
    answer = stranger.post("/login", data={"key": pages_server.api_key, "next": foreign})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_forms_of_other_sites_are_refused(
    visitor: httpx.Client, pages_server: Server, headers: dict[str, str]
) -> None:
    """Another site can neither log a browser in nor out."""
    for path in ("/login", "/logout"):
        answer = visitor.post(path, data={"key": pages_server.api_key}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_an_oversized_form_is_refused(stranger: httpx.Client) -> None:
    """A login form of megabytes is not read to its end."""
    assert stranger.post("/login", data={"key": "x" * 100_000}).status_code == 400


def test_a_click_in_another_site_keeps_the_session(visitor: httpx.Client) -> None:
    """Browsers hold a strict cookie back on such a click, so the page is asked for once more from here."""
    visitor.cookies.clear()
    answer = visitor.get("/local/digits?runs=2", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 401
    assert '<meta http-equiv="refresh" content="0;url=/local/digits?runs=2">' in answer.text
    again = visitor.get("/local/digits?runs=2", headers={"Sec-Fetch-Site": "cross-site"})
    assert 'name="key"' in again.text, "only once: a browser that is not logged in must see the form"


@pytest.mark.parametrize("path", ["/%5Cevil.example", "/%5C%5Cevil.example/x", "/a%3Fb", "/%22%3E%3Cscript%3E"])
@pytest.mark.parametrize("site", ["cross-site", "none"])
def test_the_way_back_leads_to_no_other_site(stranger: httpx.Client, path: str, site: str) -> None:
    """Neither form nor detour decodes the address: browsers take a backslash for a slash."""
    page = stranger.get(path, headers={"Sec-Fetch-Site": site}).text
    assert f'{path}"' in page
    assert "\\" not in page


def test_the_api_key_opens_pages_for_scripts(stranger: httpx.Client, pages_server: Server) -> None:
    """What `curl -u api:KEY` gets is the page."""
    assert stranger.get("/", auth=("api", pages_server.api_key)).status_code == 200


def test_users_see_no_pages_of_others() -> None:
    """The entity of another user is not found, and not told from one that is not there."""
    key, other = "a" * 40, "b" * 40
    with Server(any_key=True) as server, web.Client(base_url=server.url, auth=("api", key)) as client:
        assert client.get(f"/{key}").status_code == 200
        assert client.get(f"/{other}").status_code == 404
        web.get(f"{server.url}/{other}", auth=("api", other))
        assert client.get(f"/{other}").status_code == 404
        assert client.get(f"/{other}/secret").status_code == 404
