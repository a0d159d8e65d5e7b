"""httpx for the tests: an answer may take as long as a busy machine needs, for the test's own limit is enough."""

from functools import partial

import httpx

Client = partial(httpx.Client, timeout=None)
get, post, put = (partial(method, timeout=None) for method in (httpx.get, httpx.post, httpx.put))
