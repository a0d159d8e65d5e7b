"""Hostile requests: wrong bytes, paths, users, malformed and huge queries. Never a 500, never an escape."""

# ruff: noqa: E501 (the documents are easier to read in one line)
import base64
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uploader import GraphQLError, Uploader, md5

from wandb_ckpt.server import PortInUseError, Server
from wandb_ckpt.server.http.hosts import is_allowed

COLLECTION_NAMES = ["m", "../x", "a/b", "<script>alert(1)</script>", "\x00", "ü", ".", "..", "a" * 300]


@pytest.fixture
def uploader(http: httpx.Client, project: str) -> Uploader:
    """The protocol by hand."""
    return Uploader(http, project)


def test_wrong_bytes_are_refused_and_not_kept(uploader: Uploader) -> None:
    """An upload whose MD5 or length is not the announced one is refused; the right bytes are taken afterwards."""
    files = {"f": b"right"}
    artifact = uploader.create(files)
    (node,) = uploader.announce(artifact["id"], files)
    answer = uploader.put(node, b"wrong")
    assert (answer.status_code, "MD5" in answer.text) == (400, True)
    uploader.put_manifest(artifact["id"], uploader.manifest(files)).raise_for_status()
    with pytest.raises(GraphQLError, match="was not uploaded"):
        uploader.commit(artifact["id"])
    uploader.put(node, b"right").raise_for_status()
    uploader.commit(artifact["id"])
    assert uploader.versions()["v0"]["files"] == files


def test_a_broken_upload_is_not_kept(server: Any, uploader: Uploader) -> None:
    """A connection that ends in the middle of a file leaves nothing."""
    files = {"f": b"x" * 100_000}
    artifact = uploader.create(files)
    (node,) = uploader.announce(artifact["id"], files)
    url = httpx.URL(node["uploadUrl"])
    with socket.create_connection((url.host, url.port)) as line:
        line.sendall(
            f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n".encode()
        )
        line.sendall(b"x" * 50_000)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""  # the server has seen it
    assert uploader.announce(artifact["id"], files)[0]["uploadUrl"]


def test_a_manifest_must_be_the_announced_one(uploader: Uploader) -> None:
    """A manifest with other files than the announced digest is refused at commit."""
    files = {"f": b"1"}
    artifact = uploader.create(files)
    for node in uploader.announce(artifact["id"], {"f": b"1", "g": b"2"}):
        uploader.put(node, b"1" if node["storagePath"].endswith(bytes.hex(base64.b64decode(md5(b"1")))) else b"2")
    uploader.put_manifest(artifact["id"], uploader.manifest({"f": b"1", "g": b"2"})).raise_for_status()
    with pytest.raises(GraphQLError, match="digest"):
        uploader.commit(artifact["id"])


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\..\\b", "", "\x00", "a" * 5000]
)
def test_paths_out_of_the_folder_are_refused(uploader: Uploader, path: str) -> None:
    """A manifest with a path that leads out of the folder never becomes a version."""
    files = {path: b"1"}
    artifact = uploader.create(files)
    with pytest.raises(GraphQLError, match="Invalid file path"):
        uploader.announce(artifact["id"], files)
    (node,) = uploader.announce(artifact["id"], {"good": b"1"})
    uploader.put(node, b"1").raise_for_status()
    uploader.births[path] = artifact["id"]
    uploader.put_manifest(artifact["id"], uploader.manifest(files)).raise_for_status()
    with pytest.raises(GraphQLError, match="Invalid file path"):
        uploader.commit(artifact["id"])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"contents": []}',
        b'{"contents": {"f": 1}}',
        b'{"contents": {"f": {}}}',
        b'{"contents": {"f": {"digest": "x", "size": -1}}}',
        b'{"contents": {"f": {"digest": "x", "size": "1"}}}',
        b'{"contents": {"f": {"digest": "x", "birthArtifactID": 5}}}',
        b'{"contents": {"f": {"digest": "x", "birthArtifactID": "nonsense"}}}',
        b'{"contents": {"f": {"digest": "AAAA", "size": 1}}}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"contents": {"\\ud800": {"digest": "x", "ref": "http://x"}}}',
    ],
)
def test_a_malformed_manifest_is_an_error(uploader: Uploader, document: bytes) -> None:
    """Whatever is uploaded as a manifest: commit answers with an error, not with a failure."""
    artifact = uploader.create({"f": b"1"})
    uploader.put_manifest(artifact["id"], document).raise_for_status()
    with pytest.raises(GraphQLError, match="200: ") as caught:
        uploader.commit(artifact["id"])
    assert "failed:" not in str(caught.value)


# Who may what


def test_without_a_key_nothing_is_answered(server: Any, start_run: Any) -> None:
    """Requests without a valid key get 401, wherever they go."""
    with web.Client(base_url=server.url) as http:
        for method, path in (
            ("POST", "/graphql"),
            ("POST", "/files/local/p/r/file_stream"),
            ("GET", "/artifactsV2/default/local/p/c/QXJ0aWZhY3Q6MQ==/00/f"),
        ):
            for headers in (
                {},
                web.basic("x" * 64),
                web.basic("short"),
                {"Authorization": "Basic !!!"},
                {"Authorization": "Basic \u00e9\u00e9".encode("latin-1")},
                {"Authorization": "x"},
            ):
                answer = http.request(method, path, headers=headers, json={"query": "{ viewer { id } }"})
                assert (answer.status_code, "API key" in answer.text) == (401, True), (method, path, headers)
        assert http.get("/").status_code == 401
        assert http.get("/local").status_code == 401


def test_a_key_in_a_cookie_changes_nothing(server: Any) -> None:
    """GraphQL asks for the key itself: another site can make a browser send a cookie, but not a key."""
    with web.Client(base_url=server.url) as browser:
        browser.post("/login", data={"key": server.api_key}, headers={"Origin": server.url})
        cookies = dict(browser.cookies)
    assert cookies
    answer = web.post(f"{server.url}/graphql", json={"query": "{ viewer { id } }"}, cookies=cookies)
    assert answer.status_code == 401


def test_signed_addresses_hold_for_one_thing_only(uploader: Uploader) -> None:
    """Another path, method, time or signature is refused."""
    uploader.log({"f": b"1"})
    artifact = uploader.create({"f": b"2"})
    (node,) = uploader.announce(artifact["id"], {"f": b"2"})
    url = httpx.URL(node["uploadUrl"])
    later = str(int(url.params["exp"]) + 1)
    for wrong in (
        url.copy_with(path=url.path[:-1] + "0"),
        url.copy_set_param("exp", later),
        url.copy_set_param("exp", "²"),
        url.copy_set_param("sig", "0" * 64),
        url.copy_set_param("sig", "ü"),
        url.copy_with(query=b""),
    ):
        assert web.put(wrong, content=b"2").status_code == 403
    assert web.get(url).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/storage/../server.db",
        "/storage/%2e%2e/%2e%2e/etc/passwd",
        "/storage//etc/passwd",
        "/static/../../app.py",
        "/%00",
    ],
)
def test_no_path_leads_out(server: Any, path: str) -> None:
    """No address gives a file of this machine."""
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.split(b" ")[1] in {b"400", b"401", b"403", b"404"}


def test_users_do_not_see_each_other(any_key_server: Any, new_key: str) -> None:
    """What one user logs, another can neither see nor fetch nor change, nor learn that it exists."""
    with (
        web.Client(base_url=any_key_server.url, auth=("api", new_key)) as mine,
        web.Client(base_url=any_key_server.url, auth=("api", new_key[::-1])) as other,
    ):
        uploader = Uploader(mine, "p")
        version = uploader.log({"f": b"secret"})
        (found,) = uploader.versions().values()
        stranger = Uploader(other, "p")
        assert stranger.send("{ viewer { entity } }")["viewer"]["entity"] == new_key[::-1]
        query = 'query ($e: String) { project(name: "p", entityName: $e) { id } }'
        assert stranger.send(query, e=new_key)["project"] is None
        assert stranger.send("query ($i: ID!) { artifact(id: $i) { id } }", i=version)["artifact"] is None
        for mutation in (
            "mutation ($i: ID!) { deleteArtifact(input: {artifactID: $i, deleteAliases: true}) { artifact { id } } }",
            'mutation ($i: ID!) { updateArtifact(input: {artifactID: $i, description: "x"}) { artifact { id } } }',
            'mutation ($i: ID!) { linkArtifact(input: {artifactID: $i, artifactPortfolioName: "p"}) { versionIndex } }',
        ):
            with pytest.raises(GraphQLError, match="not found"):
                stranger.send(mutation, i=version)
        # The same digest is not "already there" for another user: that would tell, and give, its content.
        artifact = stranger.create({"f": b"secret"})
        assert artifact["state"] == "PENDING"
        assert stranger.announce(artifact["id"], {"f": b"secret"})[0]["uploadUrl"]
        stranger.births["f"] = found["id"]
        stranger.put_manifest(artifact["id"], stranger.manifest({"f": b"secret"})).raise_for_status()
        with pytest.raises(GraphQLError, match="was not uploaded"):
            stranger.commit(artifact["id"])
        hexdigest = base64.b64decode(md5(b"secret")).hex()
        place = f"/artifactsV2/default/{new_key}/p/m/{version}/{version}/{hexdigest}/f"
        assert mine.get(place).content == b"secret"
        assert other.get(place).status_code == 404
        assert other.post(f"/files/{new_key}/p/r/file_stream", json={}).status_code == 404


def test_keys_are_not_in_the_data_folder(tmp_path: Path) -> None:
    """The data folder has digests of keys, never a key; the secret is readable by its owner only."""
    with Server(tmp_path / "data") as server:
        key = server.api_key
    content = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert key.encode() not in content
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0


def test_foreign_host_names_are_refused(server: Any) -> None:
    """A request under a foreign name is refused: that is how web pages reach loopback servers."""
    for host in ("evil.example", "127.0.0.1.evil.example", "", "a b", "[::1", "localhost:99999999"):
        assert web.get(f"{server.url}/healthz", headers={"Host": host}).status_code in {400, 403}
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8080"):
        assert web.get(f"{server.url}/healthz", headers={"Host": host}).status_code == 200
    assert is_allowed("192.168.0.7:8080", "0.0.0.0")
    assert not is_allowed("192.168.0.7:8080", "127.0.0.1")
    assert not is_allowed("evil.example", "0.0.0.0")
    assert is_allowed("box.local:80", "box.local")


def test_a_port_in_use_is_a_clear_error(server: Any) -> None:
    """A second server on the same port says what is wrong and what to do."""
    with pytest.raises(PortInUseError, match=r"in use already\. Choose another port"):
        Server(port=httpx.URL(server.url).port).start()


# GraphQL


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"query": 5}',
        b'{"query": "{ viewer { id } }", "variables": [1]}',
        b'{"query": "{ viewer { id } }", "operationName": 5}',
        b'{"query": "{"}',
        b'{"query": ""}',
        b'{"query": "query A { viewer { id } } query B { viewer { id } }"}',
        b'{"query": "query A { viewer { id } }", "operationName": "B"}',
        b'{"query": "query ($a: String!) { entity(name: $a) { id } }", "variables": {"a": "\\ud800"}}',
        b"[" * 200_000,
        json.dumps({"query": "{" + "a" * 300_000 + "}"}).encode(),
        json.dumps({"query": "{ viewer { id } }" * 3000}).encode(),
        json.dumps(
            {"query": "{ viewer " + "{ teams { edges { node { user " * 200 + "{id}" + "}}}}" * 200 + "}"}
        ).encode(),
        json.dumps({"query": "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(1200)) + "}"}).encode(),
        json.dumps(
            {
                "query": "{ viewer { ...f0 } }"
                + "".join(
                    f"fragment f{n} on User {{ a: teams {{ edges {{ node {{ user {{ ...f{n + 1} }} }} }} }} "
                    f"b: teams {{ edges {{ node {{ user {{ ...f{n + 1} }} }} }} }} }}"
                    for n in range(40)
                )
                + "fragment f40 on User { id }"
            }
        ).encode(),
        b'{"query": "{ viewer { ...a } } fragment a on User { ...b } fragment b on User { ...a }"}',
    ],
    ids=lambda body: body[:40],
)
def test_a_malformed_or_huge_query_is_refused(server: Any, http: httpx.Client, body: bytes) -> None:
    """Malformed, deep, wide or exploding queries get 400 and cost little; the server is a thread of this process."""
    begin = time.process_time()
    answer = http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["message"]
    assert time.process_time() - begin < 5
    server.clear_unhandled()


def test_a_huge_body_is_refused(http: httpx.Client) -> None:
    """A request larger than the limit is refused, also when it is small on the line."""
    import gzip

    bomb = gzip.compress(b"0" * 80_000_000)
    answer = http.post("/graphql", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


def test_an_endless_header_is_cut_off(server: Any) -> None:
    """A request whose head does not end is refused before it takes much memory."""
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            line.sendall(b"a" * 100 * 2**20)


def test_an_unknown_operation_is_named_and_recorded(server: Any, http: httpx.Client) -> None:
    """What the server does not know is answered with its name, and noted for tests."""
    server.clear_unhandled()
    query = "mutation LaunchRocket($to: String) { launchRocket(input: {to: $to}) { ok } }"
    answer = http.post("/graphql", json={"query": query, "variables": {"to": "moon"}, "operationName": ""})
    assert (answer.status_code, "LaunchRocket" in answer.json()["errors"][0]["message"]) == (400, True)
    (noted,) = server.unhandled
    assert (noted.operation, noted.variables) == ("LaunchRocket", ("to",))
    assert "launchRocket" in noted.what
    server.clear_unhandled()
    assert server.unhandled == ()


def test_unknown_input_fields_are_dropped(server: Any, http: httpx.Client, project: str) -> None:
    """Input fields of newer clients are no error: silently if they are null, else noted."""
    query = "mutation A($i: UpsertModelInput!) { upsertModel(input: $i) { inserted } }"
    for value, noted in ((None, 0), (5, 1)):
        variables = {"i": {"name": project, "brandNew": value}, "undeclared": 1}
        answer = http.post("/graphql", json={"query": query, "variables": variables})
        assert answer.json()["data"]["upsertModel"]
        assert len(server.unhandled) == noted
        server.clear_unhandled()


@pytest.mark.parametrize("text", ["{", "", '"', "[" * 100_000, '{"a":' + "9" * 5000 + "}"], ids=lambda text: text[:8])
def test_json_within_json_is_checked(server: Any, uploader: Uploader, text: str) -> None:
    """Conditions, configs and metadata travel as JSON in a string: one that is none is told, and changes nothing."""
    for query in (
        'query ($j: JSONString) { viewer { id } project(name: "p") { runs(filters: $j) { totalCount } } }',
        'mutation ($j: JSONString) { upsertBucket(input: {name: "r", modelName: "p", config: $j}) { inserted } }',
        f'mutation {{ upsertBucket(input: {{name: "r", modelName: "p", config: {json.dumps(text)}}}) {{ inserted }} }}',
    ):
        with pytest.raises(GraphQLError, match="without JSON in it"):
            uploader.send(query, **({"j": text} if "$j" in query else {}))
    with pytest.raises(GraphQLError, match="without JSON in it"):
        uploader.create({"f": b"1"}, metadata=text)
    server.clear_unhandled()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70, 1.5, "1", True], ids=str)
def test_numbers_that_the_database_can_not_have_are_refused(uploader: Uploader, number: Any) -> None:
    """A number of more than 64 bits, or none, is told."""
    with pytest.raises(GraphQLError, match="Int64 cannot represent"):
        uploader.create({"f": b"1"}, ttlDurationSeconds=number)


# Fuzz

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*COLLECTION_NAMES, "wandb_manifest.json", "QXJ0aWZhY3Q6MQ==", "", None]) | st.text(
    max_size=20
)
fuzz = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
ROOTS = [  # documents with the variables $a, $b, $c: texts; $j: JSON; $s: list of texts
    """query ($a: String, $b: String!) { project(name: $a, entityName: $a) { id runs(filters: $j, order: $a, after: $a) { edges { node { id } } } artifactCollectionMembership(name: $b) { id } artifactCollection(name: $b) { id artifacts(filters: $j, order: $a, after: $a) { totalCount } } } }""",
    """query ($b: ID!) { artifact(id: $b) { id } artifactCollection(id: $b) { id } clientIDMapping(clientID: $b) { serverID } }""",
    """mutation ($a: String, $j: JSONString) { upsertBucket(input: {name: $a, modelName: $a, displayName: $a, config: $j, summaryMetrics: $j, state: $a}) { bucket { id config historyKeys wandbConfig } } }""",
    """mutation ($a: String, $b: String!, $j: JSONString, $s: [String!]!) { createArtifact(input: {artifactTypeName: $b, artifactCollectionName: $a, projectName: $a, digest: $b, metadata: $j, clientID: $b, artifactCollectionNames: $s, enableDigestDeduplication: true}) { artifact { id } } }""",
    """mutation ($b: String!, $s: [String!]!) { createRunFiles(input: {entityName: $b, projectName: $b, runName: $b, files: $s}) { files { uploadUrl } } }""",
    """mutation ($b: ID!, $c: String!) { addAliases(input: {artifactID: $b, aliases: [{alias: $c, artifactCollectionName: $c, entityName: $c, projectName: $c}]}) { success } commitArtifact(input: {artifactID: $b}) { artifact { id } } deleteRun(input: {id: $b}) { clientMutationId } stopRun(input: {id: $b}) { success } }""",
]


@fuzz
@given(st.sampled_from(ROOTS), names, names, json_values.map(json.dumps) | st.text(), st.lists(names, max_size=3))
def test_no_variables_make_graphql_fail(server: Any, query: str, a: Any, b: Any, value: str, s: list[Any]) -> None:
    """Whatever stands in the variables, the answer is data or an error, never a failure of the server."""
    query = query.replace(
        "($a: String, $b: String!) { project", "($a: String, $b: String!, $j: JSONString) { project"
    )
    variables = {"a": a, "b": b, "c": b, "j": value, "s": s}
    body = json.dumps({"query": query, "variables": variables})
    answer = web.post(f"{server.url}/graphql", content=body, auth=("api", server.api_key))
    assert answer.status_code in {200, 400}, answer.text
    assert "failed:" not in answer.text, answer.text
    server.clear_unhandled()


@fuzz
@given(json_values)
def test_no_body_makes_graphql_fail(server: Any, value: Any) -> None:
    """Whatever the body is, the answer is no failure."""
    answer = web.post(f"{server.url}/graphql", json=value, auth=("api", server.api_key))
    assert answer.status_code == 400
    server.clear_unhandled()


@fuzz
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "X"]),
    st.lists(
        st.sampled_from(
            [
                "graphql",
                "storage",
                "files",
                "file_stream",
                "artifactsV2",
                "local",
                "runs",
                "artifacts",
                "model",
                "..",
                ".",
                "%2e%2e",
                "static",
                "login",
                "versions",
                "wandb_artifacts",
                "1",
                "healthz",
                "QXJ0aWZhY3Q6MQ==",
                "00",
                "sdk",
                "otel",
                "%00",
                "%ff",
                "%2f",
            ]
        )
        | st.text(max_size=8).map(lambda text: httpx.QueryParams({"a": text}).__str__()[2:]),
        max_size=9,
    ),
    st.sampled_from(["", "?exp=1&sig=2", "?page=-1", "?a=%ff", "?sort=x&page=9999999999999999999999"]),
    st.binary(max_size=50),
    st.booleans(),
)
def test_no_address_makes_the_server_fail(
    server: Any, method: str, parts: list[str], query: str, body: bytes, with_key: bool
) -> None:
    """Whatever the address, method and body are, the answer is no 5xx."""
    port = httpx.URL(server.url).port
    headers = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))}
    headers |= web.basic(server.api_key) if with_key else {}
    head = f"{method} /{'/'.join(parts)}{query} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(head.encode() + b"\r\n" + body)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer[9:10] in {b"2", b"3", b"4"}, answer[:300]
    server.clear_unhandled()


@fuzz
@given(json_values | st.fixed_dictionaries({"files": st.dictionaries(
    st.sampled_from(["wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json", "x"]),
    st.fixed_dictionaries({"offset": st.integers(-5, 2**60), "content": st.lists(json_values.map(json.dumps) | st.text())}),
), "complete": json_values, "exitcode": json_values}))  # fmt: skip
def test_no_stream_makes_the_server_fail(server: Any, value: Any) -> None:
    """Whatever is streamed to a run: no failure, and the run can still be read."""
    with web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        make = 'mutation { upsertBucket(input: {name: "fuzz", modelName: "fuzz"}) { inserted } }'
        http.post("/graphql", json={"query": make}).raise_for_status()
        assert http.post("/files/local/fuzz/fuzz/file_stream", json=value).status_code in {200, 400}
        read = (
            '{ project(name: "fuzz") { run(name: "fuzz") { state historyKeys history events systemMetrics historyTail '
            "wandbConfig summaryMetrics logLines(last: 5) { edges { node { line } } } "
            'sampledHistory(specs: ["{\\"keys\\": [\\"_step\\"]}"]) parquetHistory(liveKeys: []) { liveData } } } }'
        )
        answer = http.post("/graphql", json={"query": read})
        assert (answer.status_code, answer.json().get("errors")) == (200, None), answer.text


HEADERS = [
    *(
        "Authorization",
        "Cookie",
        "Accept",
        "Range",
        "If-Range",
        "If-None-Match",
        "Origin",
        "Sec-Fetch-Site",
        "Expect",
    ),
    *("Content-Type", "Content-Encoding", "Transfer-Encoding", "Upgrade", "X-Forwarded-Host", "X-WANDB-USERNAME"),
]
header_values = st.sampled_from(
    [
        *(
            "Basic \u00e9",
            "Basic =",
            "Basic " + "A" * 5000,
            "Bearer",
            "gzip",
            "br",
            "chunked",
            "websocket",
            "*",
            "null",
        ),
        *(
            "bytes=0-0",
            "bytes=-1",
            "bytes=-0",
            "bytes=5-2",
            "bytes=0-" + "9" * 30,
            "bytes=" + "9" * 5000 + "-",
            "bytes=-",
        ),
        *(
            "bytes=" + "1-1," * 300,
            "items=0-1",
            "bytes=\u00b2-",
            "text/html",
            "cross-site",
            "100-continue",
            "a=b;;=;",
        ),
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)


@pytest.fixture(scope="module")
def addresses(server: Any) -> list[str]:
    """An address of each kind that has an answer."""
    with web.Client(base_url=server.url, auth=("api", server.api_key)) as http:
        uploader = Uploader(http, "headers")
        uploader.log({"f": b"x" * 100, "g": b"1"})
        pending = uploader.create({"h": b"2"})
        (upload,) = uploader.announce(pending["id"], {"h": b"2"})
        query = '{ project(name: "headers") { artifactCollection(name: "m") { artifacts { edges { node { files { edges { node { directUrl } } } } } } } } }'
        (version,) = uploader.send(query)["project"]["artifactCollection"]["artifacts"]["edges"]
    urls = [upload["uploadUrl"], *(edge["node"]["directUrl"] for edge in version["node"]["files"]["edges"])]
    birth, hexdigest = uploader.births["f"], base64.b64decode(md5(b"x" * 100)).hex()
    model = f"/{server.entity}/headers/artifacts/model/m"
    return [
        *(httpx.URL(url).raw_path.decode() for url in urls),
        f"/artifactsV2/default/{server.entity}/headers/m/{birth}/{hexdigest}/f",
        *(model, f"{model}/v0", f"{model}/compare?a=v0&b=latest", f"{model}/v0/files/f", f"{model}/v0/lineage"),
        *(
            "/",
            f"/{server.entity}",
            f"/{server.entity}/headers",
            "/login",
            "/logout",
            "/static/pages.css",
            "/favicon.ico",
        ),
        f"/orgs/x/registry/model?selectionPath={server.entity}/headers/m&version=v0",
        *("/graphql", f"/files/{server.entity}/headers/r/file_stream", "/healthz", "/ready"),
    ]


@settings(fuzz, max_examples=200)
@given(
    st.data(), st.sampled_from(["GET", "POST", "PUT", "HEAD"]), st.sampled_from(HEADERS), header_values, st.booleans()
)
def test_no_header_makes_the_server_fail(
    server: Any, addresses: list[str], data: st.DataObject, method: str, header: str, value: str, with_key: bool
) -> None:
    """Whatever a header says, at an address that has something to answer, the answer is no 5xx."""
    address = data.draw(st.sampled_from(addresses))
    key = web.basic(server.api_key)["Authorization"] if with_key else ""
    lines = [f"{method} {address} HTTP/1.1", "Host: localhost", "Connection: close", f"{header}: {value}"]
    lines += [f"Authorization: {key}"] if key else []
    body = "0" if header == "Transfer-Encoding" else ""
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as line:
        line.sendall("\r\n".join([*lines, "", body, "", ""] if body else [*lines, "", ""]).encode("latin-1"))
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer[9:10] in {b"2", b"3", b"4"}, answer[:300]
    server.clear_unhandled()
