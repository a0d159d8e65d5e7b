"""httpx for the tests: an answer may take as long as a busy machine needs, for the test's own limit is enough."""

import base64
from functools import partial

import httpx

Client = partial(httpx.Client, timeout=None)
get, post, put = (partial(method, timeout=None) for method in (httpx.get, httpx.post, httpx.put))


def basic(key: str) -> dict[str, str]:
    """The header that the client sends a key in."""
    return {"Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}
