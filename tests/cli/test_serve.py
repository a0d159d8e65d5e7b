"""`wandb-ckpt serve`, run as a user runs it."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from wandb_ckpt.cli import main


@contextmanager
def serving(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Runs `wandb-ckpt serve` on a free port and gives its first lines."""
    command = [sys.executable, "-u", "-m", "wandb_ckpt", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = ""
        for line in iter(process.stdout.readline, ""):
            lines += line
            if line.startswith("Pages: "):
                break
        try:
            yield process, lines
        finally:
            process.kill()


def status_of(url: str, key: str = "") -> int:
    """The status that a GraphQL request with a key gets."""
    import base64

    token = base64.b64encode(f"api:{key}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    body = b'{"query": "query { viewer { id } }", "variables": {}}'
    try:
        return urllib.request.urlopen(urllib.request.Request(f"{url}/graphql", body, headers)).status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_first_line_says_how_to_point_wandb_at_it(tmp_path: Path) -> None:
    """The first start shows a key that works, the second start does not show it again, and it still works."""
    with serving("--data-dir", str(tmp_path / "data")) as (process, lines):
        found = re.search(r"export WANDB_BASE_URL=(http://127\.0\.0\.1:\d+) WANDB_API_KEY=([\w-]{40,})\n", lines)
        assert found, lines
        url, key = found.groups()
        assert "shown only now" in lines
        assert (status_of(url, key), status_of(url, "x" * 40), status_of(url)) == (200, 401, 401)
        process.send_signal(signal.SIGINT)
        assert process.wait() in (0, -signal.SIGINT)
    with serving("--data-dir", str(tmp_path / "data")) as (process, lines):
        assert key not in lines
        assert "<the key of the first start>" in lines
        assert status_of(re.search(r"http://\S+", lines).group(), key) == 200


def test_any_key_is_loud(tmp_path: Path) -> None:
    """With --any-key any key of 40 characters is let in, and a line says so."""
    with serving("--data-dir", str(tmp_path / "data"), "--any-key") as (_, lines):
        assert "--any-key is on" in lines
        url = re.search(r"http://\S+", lines).group()
        assert (status_of(url, "k" * 40), status_of(url, "k" * 39)) == (200, 401)


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """An error is one line that says what to do, and exit code 1."""
    with serving("--data-dir", str(tmp_path / "data")) as (_, lines):
        port = re.search(r"http://127\.0\.0\.1:(\d+)", lines).group(1)
        result = CliRunner().invoke(main, ["serve", "--port", port, "--data-dir", str(tmp_path / "other")])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"127.0.0.1:{port} is in use already. Choose another port" in result.output


def test_gc_says_what_it_freed(tmp_path: Path) -> None:
    """--gc sweeps the data folder and exits."""
    result = CliRunner().invoke(main, ["serve", "--gc", "--data-dir", str(tmp_path / "data")])
    assert (result.exit_code, result.output[:5]) == (0, "Freed")
