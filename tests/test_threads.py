"""Threads that the system refuses, that are still waiting at the end, or that a forked child does not have."""

from pathlib import Path
from typing import Any

import pytest

from scripts import run_script
from training import contents, versions

pytestmark = pytest.mark.slow

# The system's refusal, from where it comes: the function that Python asks for a thread, which 3.13 has renamed.
REFUSE = """
import collections
refused = collections.Counter()
def refusing(ask):
    def start(function, *arguments, **named):
        name = function.__self__.name
        if name.startswith(REFUSED) and refused[name] < TIMES:
            refused[name] += 1
            raise RuntimeError("can't start new thread")
        return ask(function, *arguments, **named)
    return start
for name in {"_start_new_thread", "_start_joinable_thread"} & set(vars(threading)):
    setattr(threading, name, refusing(getattr(threading, name)))
"""
OURS = ("hand_over", "exit", "settle", "retention", "save", "ask", "sweep")


def refusing(names: tuple[str, ...], times: float) -> str:
    """The beginning of a script whose threads of these names are refused so many times."""
    return (
        f"from math import inf\nREFUSED, TIMES = {tuple(f'wandb_ckpt_{name}' for name in names)}, {times}\n{REFUSE}"
    )


@pytest.mark.parametrize(
    ("names", "times", "background"),
    [
        (OURS, 1, False),
        (OURS, 2, True),
        (("exit", "settle", "retention", "save", "ask", "sweep"), float("inf"), True),
    ],
    ids=["once", "twice, in the background", "all but one, always"],
)
def test_threads_that_can_not_be_started(
    server: Any, start_run: Any, project: str, tmp_path: Path, names: Any, times: float, background: bool
) -> None:
    """Training goes on, every checkpoint is saved, published and looked after; what was refused is tried again."""
    start_run(id="r1").finish()  # of a resumed run W&B is asked when training begins
    body = f"""
    MORE = {{"max_versions": 1, "save_on_background": {background}}}
    wandb.init(resume="allow")
    callback = WandbModelCheckpoint("out/{{epoch}}.keras", artifact_name="run_r1_model", **MORE)
    fit(At(1, callback._session.publisher.flush), callback)
    print([(o.state, o.checkpoint.epoch) for o in callback.checkpoints], flush=True)
    print("refused", sorted(refused), flush=True)
    """
    code, output = run_script(refusing(names, times) + body.replace("\n    ", "\n"), tmp_path, project, "r1")
    assert code == 0, output
    assert "[('committed', 0), ('committed', 1), ('committed', 2)]" in output, output
    assert "own; please report it" not in output
    for name in names:
        assert f"wandb_ckpt_{name}" in output.split("refused")[-1] or (name == "save" and not background), output
    seen = versions(f"{server.entity}/{project}/r1", tmp_path / "fetched")
    assert [version.metadata["epoch"] for version in seen] == [2], output
    assert seen[0].files == {"3.keras": contents(tmp_path / "out")["3.keras"]}


def test_a_question_that_is_never_answered(tmp_path: Path) -> None:
    """Training begins without the answer, and the process ends without waiting for it."""
    body = """
    from wandb_ckpt.wandb_api import api
    api._ASK_TIMEOUT = 0.1
    try:
        api.ask(threading.Event().wait)
    except api.UnreachableError:
        print("not in time", flush=True)
    """
    assert run_script(body, tmp_path, "p1", "r1") == (0, "not in time\n")


@pytest.mark.parametrize("patience", [250, 0.1], ids=["in time", "never"])
def test_a_fork_while_a_thread_imports(tmp_path: Path, patience: float) -> None:
    """It waits for what a child could never import any more, but not for ever."""
    (tmp_path / "slow.py").write_text("import __main__\n__main__.began.set()\n__main__.go_on.wait()\nDONE = True\n")
    body = f"""
    import importlib
    from wandb_ckpt import threads as _threads
    _threads._IMPORT_TIMEOUT = {patience}
    began, go_on = threading.Event(), threading.Event()
    thread = _threads.start("wandb_ckpt_ask", lambda: importlib.import_module("slow"))
    began.wait()
    if {patience} > 1:
        threading.Timer(1, go_on.set).start()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        if {patience} > 1:
            import slow
            print("the child has it:", slow.DONE, flush=True)
        os._exit(0)
    print("the child exits with", os.waitpid(pid, 0)[1], flush=True)
    go_on.set()
    thread.join()
    """
    code, output = run_script(body, tmp_path, "p1", "r1")
    assert code == 0, output
    assert "the child exits with 0" in output, output
    assert ("the child has it: True" in output) is (patience > 1), output
