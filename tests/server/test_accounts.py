"""Accounts and what surrounds the client: logging in, keys, projects, command lines, the server's own life."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import web

import wandb_ckpt.server
from scripts import ran
from wandb_ckpt.server import DataFolderError, Server, ServerInfo, serve
from wandb_ckpt.server.store import Database


def wandb_command(arguments: list[str], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the wandb command line with settings of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {f"WANDB_{name}": str(folder / name.lower()) for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    (folder / "dir").mkdir(exist_ok=True)
    environ = {**inherited, **own, "NETRC": str(folder / "netrc"), "WANDB_ERROR_REPORTING": "false", **environ}
    return ran([sys.executable, "-m", "wandb", *arguments], cwd=folder, env=environ)


def test_wandb_login_checks_the_key(server: Any, tmp_path: Path) -> None:
    """`wandb login --verify` takes the right key, stores it, and refuses a wrong one with our message."""
    good = wandb_command(["login", "--verify", "--host", server.url, server.api_key], tmp_path)
    assert good.returncode == 0, good.stderr
    assert server.api_key in (tmp_path / "netrc").read_text()
    bad = wandb_command(["login", "--relogin", "--verify", "--host", server.url, "x" * 40], tmp_path)
    assert bad.returncode != 0
    assert "not valid for this server" in bad.stderr


def test_the_client_deletes_the_key_that_it_names(server: Any, api: Any) -> None:
    """Every key has a name of its own, by which the client deletes that one and no other."""
    import wandb

    first, second = (api.viewer.generate_api_key(words) for words in ("laptop", "cluster"))
    # Another client: the one that made the keys lists them as it got them, whole.
    viewer = wandb.Api(overrides={"base_url": server.url}, api_key=server.api_key).viewer
    names = viewer.api_keys
    assert len(set(names)) == len(names) >= 3
    assert second.startswith(names[-1])
    assert viewer.delete_api_key(names[-1])
    answers = [web.get(f"{server.url}/", headers=web.basic(key)).status_code for key in (first, second)]
    assert answers == [200, 401]


def test_the_command_line_puts_lists_and_gets(server: Any, project: str, tmp_path: Path) -> None:
    """`wandb artifact put`, `ls` and `get` work with no word of Python."""
    (tmp_path / "weights.bin").write_bytes(b"w" * 1000)
    put = ["artifact", "put", "--name", f"{project}/weights", "--type", "model", "--alias", "best", "weights.bin"]
    for arguments in (
        put,
        ["artifact", "ls", f"{server.entity}/{project}"],
        ["artifact", "get", f"{server.entity}/{project}/weights:best", "--root", "fetched"],
    ):
        done = wandb_command(arguments, tmp_path, **server.environ)
        assert done.returncode == 0, done.stderr
        if arguments[1] == "ls":
            assert "weights:v0" in done.stderr + done.stdout
    assert (tmp_path / "fetched" / "weights.bin").read_bytes() == b"w" * 1000


def test_any_key_is_a_user_of_its_own(any_key_server: Any, new_key: str, tmp_path: Path) -> None:
    """With `any_key`, the real client logs in with any key, whose user and default entity are the key itself."""
    script = """
import wandb
with wandb.init(project="p") as run:
    artifact = wandb.Artifact("m", "model")
    with artifact.new_file("f") as file:
        file.write("x")
    print(run.entity, run.log_artifact(artifact).wait().qualified_name, *wandb.Api().viewer.api_keys)
"""
    environ = {name: value for name, value in os.environ.items() if name not in {"WANDB_SERVICE", "WANDB_API_KEY"}}
    environ |= {"WANDB_BASE_URL": any_key_server.url, "WANDB_API_KEY": new_key, "WANDB_DIR": str(tmp_path)}
    done = ran([sys.executable, "-c", script], env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [new_key, f"{new_key}/p/m:v0", new_key[:8]]
    assert any_key_server.unhandled == ()


def test_the_viewer_and_projects(server: Any, api: Any, project: str) -> None:
    """The public API knows who it is, makes projects and lists them."""
    assert api.default_entity == server.entity
    assert api.viewer.username == server.entity
    assert api.viewer.teams == [server.entity]
    api.create_project(project, server.entity)
    found = api.project(project, entity=server.entity)
    assert found.name == project
    assert found.id
    assert project in {each.name for each in api.projects()}
    assert [user.username for user in api.users(server.entity)] == [server.entity]
    run = api.create_run(run_id="made", project=project, entity=server.entity)
    assert (run.id, run.state) == ("made", "running")


def test_an_unknown_entity_is_an_error(server: Any, tmp_path: Path) -> None:
    """A run can't be started in an entity that is not the user's."""
    import wandb

    with pytest.raises(wandb.Error, match="not found"):
        wandb.init(project="p", entity="somebody-else", dir=tmp_path)


@pytest.mark.parametrize(
    ("region", "answer"), [("default", "id"), ("minio-local", "id"), ("moon", "'moon' is not known")]
)
def test_storage_regions_of_the_server_for_tests(any_key_server: Any, new_key: str, region: str, answer: str) -> None:
    """With `any_key` there is the second storage region that W&B's own tests ask for; others are refused by name."""
    query = "mutation ($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }"
    wanted = {"artifactTypeName": "model", "artifactCollectionName": "m", "projectName": "p", "digest": "d"}
    ask = {"query": query, "variables": {"i": {**wanted, "storageRegion": region}}}
    assert answer in web.post(f"{any_key_server.url}/graphql", headers=web.basic(new_key), json=ask).text


def test_a_key_can_be_made_and_taken_away(server: Any, graphql: Any, http: httpx.Client) -> None:
    """A further key works at once; after it was deleted, it does not."""
    made = graphql('mutation { generateApiKey(input: {description: "more"}) { apiKey { id name description } } }')
    key = made["generateApiKey"]["apiKey"]
    ask = {"query": "{ viewer { apiKeys { edges { node { id name } } } } }"}
    listed = web.post(f"{server.url}/graphql", headers=web.basic(key["name"]), json=ask).json()
    nodes = [edge["node"] for edge in listed["data"]["viewer"]["apiKeys"]["edges"]]
    assert {"id": key["id"], "name": key["name"][:8]} in nodes
    graphql("mutation ($i: String!) { deleteApiKey(input: {id: $i}) { success } }", i=key["id"])
    assert web.post(f"{server.url}/graphql", headers=web.basic(key["name"]), json=ask).status_code == 401


def test_an_older_client_asks_for_the_servers_version(graphql: Any) -> None:
    """Clients before 0.31 ask for it in a group of fields; there is no newer version to be told of."""
    asked = "latestLocalVersionInfo { outOfDate latestVersionString versionOnThisInstanceString }"
    query = f"query Viewer {{ viewer {{ id }} serverInfo {{ cliVersionInfo {asked} }} }}"
    assert graphql(query)["serverInfo"]["latestLocalVersionInfo"] is None


def test_serve_tells_the_key_once(tmp_path: Path) -> None:
    """The first start over a folder makes a key and tells it; later starts do not."""
    told: list[ServerInfo] = []

    class EnoughError(Exception):
        """Ends the server when it has told."""

    def on_start(info: ServerInfo) -> None:
        told.append(info)
        raise EnoughError

    for _ in range(2):
        with pytest.raises(EnoughError):
            serve(tmp_path / "data", port=0, on_start=on_start)
    assert [bool(info.new_api_key) for info in told] == [True, False]
    assert (told[0].entity, told[0].url.startswith("http://127.0.0.1:")) == ("local", True)
    with Server(tmp_path / "data") as server:
        answer = web.post(
            f"{server.url}/graphql",
            headers=web.basic(told[0].new_api_key or ""),
            json={"query": "{ viewer { name } }"},
        )
    assert answer.json() == {"data": {"viewer": {"name": "local"}}}


def test_the_examples_in_docstrings() -> None:
    """Examples in the docstrings of the server do what they say."""
    assert doctest.testmod(wandb_ckpt.server.server).attempted > 0
    assert doctest.testmod(wandb_ckpt.server.server).failed == 0


def test_starting_and_stopping_twice_is_no_error() -> None:
    """`start` and `stop` may be called again."""
    server = Server()
    assert server.start() is server.start()
    assert web.get(f"{server.url}/healthz").text == "ok"
    server.stop()
    server.stop()
    with pytest.raises(httpx.ConnectError):
        web.get(f"{server.url}/healthz")


def test_a_data_folder_that_can_not_be_used(tmp_path: Path) -> None:
    """A folder that is a file, or that a newer version made, is a clear error."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataFolderError, match="can't be used"):
        Server(tmp_path / "file").start()
    with Server(tmp_path / "data"):
        pass
    db = Database(tmp_path / "data" / "server.db")
    with db.atomic():
        db.run("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(DataFolderError, match="Upgrade wandb-ckpt"):
        Server(tmp_path / "data").start()


def test_the_server_does_not_import_the_client() -> None:
    """Server and client share only HTTP: neither wandb nor the rest of the package is imported."""
    script = "import sys, wandb_ckpt.server; print([m for m in ('wandb', 'keras', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    folder = Path(wandb_ckpt.server.__file__).parent
    for path in folder.rglob("*.py"):
        for module in re.findall(r"^\s*(?:from|import) (wandb[\w.]*)", path.read_text(), re.MULTILINE):
            assert module.startswith("wandb_ckpt.server"), f"{path.name} imports {module}"
