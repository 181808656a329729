"""A run is a fork of a process that has imported everything, and lives and dies as a process of its own would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import _forkserver, _launch
from flows._cli.stack import Stack
from tests.support import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]

#: A fork server that has imported something no program imports, and a launcher of a program that lives here.
SERVER = """
import sys
from pathlib import Path
from flows import _forkserver
_forkserver.PROGRAMS["nap"] = "nap"
_forkserver.code_state = Path("code").read_text
_forkserver._IDLE_SECONDS = 0.05
_forkserver.main(*(line.split() for line in Path("modules").read_text().splitlines()))
"""
LAUNCHER = """
import os
from flows import _launch
_launch.PROGRAMS["nap"] = "nap"
_launch._ABSENT_SECONDS = float(os.environ.get("PREFECT__ABSENT", "0"))
_launch.main("nap")
"""
NAP = """
import os, signal, sys, time
def stop(*_):
    raise SystemExit(7)
signal.signal(signal.SIGTERM, stop)
kind = ("forked" if "calm" in sys.modules else "fork") if "wave" in sys.modules else "alone"
print(kind, os.getpid(), os.environ.get("PREFECT__FLOW_RUN_ID"), os.getcwd(), flush=True)
time.sleep(float(os.environ.get("PREFECT__NAP", "0")))
raise SystemExit(int(os.environ.get("PREFECT__CODE", "0")))
"""


class Site:
    """A fork server in a folder of its own, whose path no socket's address would hold."""

    def __init__(self, folder: Path, modules: str = "wave wrong\n") -> None:
        self.folder = folder / ("a" * 120)
        self.folder.mkdir()
        for name, text in {"server.py": SERVER, "nap.py": NAP, "code": "1", "modules": modules}.items():
            (self.folder / name).write_text(text)
        (self.folder / "wrong.py").write_text("1 / 0")
        (self.folder / "calm.py").write_text("")
        (self.folder / "busy.py").write_text(
            "import threading; threading.Thread(target=threading.Event().wait).start()"
        )
        self.socket = self.folder / "socket"
        paths = f"{ROOT}{os.pathsep}{self.folder}"
        self.environment = {**os.environ, _launch.SOCKET: str(self.socket), "PYTHONPATH": paths}
        self.log = (self.folder / "log").open("ab")
        self.start()
        until(self.socket.exists)

    def start(self) -> None:
        """Start the server."""
        self.server = subprocess.Popen(
            [sys.executable, "server.py"], cwd=self.folder, env=self.environment, stdout=self.log, stderr=self.log
        )

    def launch(self, **variables: str) -> subprocess.Popen[str]:
        """Start a launcher."""
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the server."""
        self.server.kill()
        self.server.wait()
        self.log.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fork server that is at work."""
    site = Site(tmp_path)
    yield site
    site.close()


def until(find: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not find():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(launcher: subprocess.Popen[str]) -> tuple[str, int, str, str]:
    """Return what the program says of itself."""
    assert launcher.stdout is not None
    kind, pid, run, folder = launcher.stdout.readline().split()
    return kind, int(pid), run, folder


def test_a_run_is_a_fork_with_what_the_launcher_has(site):
    """Environment, folder and output are the launcher's; so is the end; a module that is wrong is its run's affair."""
    launcher = site.launch(PREFECT__FLOW_RUN_ID="abc", PREFECT__CODE="3")
    kind, pid, run, folder = said(launcher)
    assert (kind, run, folder) == ("fork", "abc", str(site.folder))
    assert pid != launcher.pid
    assert launcher.wait(PATIENCE_SECONDS) == 3
    assert "wrong cannot be imported: ZeroDivisionError" in (site.folder / "log").read_text()


def test_signals_and_ends_are_passed_on(site):
    """SIGTERM to the launcher stops the fork its own way; a fork that is killed leaves a launcher that was killed."""
    stopped, killed = site.launch(PREFECT__NAP="60"), site.launch(PREFECT__NAP="60")
    said(stopped)
    _, pid, *_ = said(killed)
    stopped.terminate()
    assert stopped.wait(PATIENCE_SECONDS) == 7
    os.kill(pid, signal.SIGKILL)
    assert killed.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def test_nobody_outlives_who_it_belongs_to(site):
    """A fork is killed with its launcher, and with the fork server; then the next one starts by itself."""
    first, second = site.launch(PREFECT__NAP="60"), site.launch(PREFECT__NAP="60")
    forks = [psutil.Process(said(launcher)[1]) for launcher in (first, second)]
    first.kill()
    until(lambda: not forks[0].is_running())
    assert forks[1].is_running()
    site.server.kill()
    assert second.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    until(lambda: not forks[1].is_running())
    alone = site.launch()
    assert said(alone)[:2] == ("alone", alone.pid)
    assert alone.wait(PATIENCE_SECONDS) == 0


def test_a_fork_server_that_is_started_again_is_waited_for(site):
    """Worker and fork server die together: the worker that follows is a fork, too."""
    site.server.kill()
    site.server.wait()
    launcher = site.launch(PREFECT__ABSENT="20")
    site.start()
    assert said(launcher)[0] == "fork"


def test_other_settings_start_by_themselves(site):
    """A fork would not have what was read from them when it was imported; what is of one run alone may differ."""
    alone = site.launch(MLOPS_FAILPOINT="promotion.after-alias")
    assert said(alone)[:2] == ("alone", alone.pid)
    assert alone.wait(PATIENCE_SECONDS) == 0
    assert "other settings: MLOPS_FAILPOINT" in (site.folder / "log").read_text()
    assert said(site.launch(PREFECT__WORKER_ID="x"))[0] == "fork"


def test_changed_code_is_imported_anew_and_no_fork_is_lost(site):
    """The first run after a change starts by itself, the next is a fork again; what ran meanwhile ends as it does."""
    before = site.launch(PREFECT__NAP="60")
    assert said(before)[0] == "fork"
    (site.folder / "code").write_text("2")
    assert said(site.launch())[0] == "alone"
    assert said(site.launch())[0] == "fork"
    assert site.server.poll() is None
    before.terminate()
    assert before.wait(PATIENCE_SECONDS) == 7


def test_nobody_is_forked_from_a_process_with_threads(tmp_path):
    """A fork has none of them, and what they held is held for ever: runs start by themselves, as without the server."""
    site = Site(tmp_path, modules="wave busy\n")
    assert said(site.launch())[0] == "alone"
    assert "has started a thread" in (site.folder / "log").read_text()
    site.close()


def test_what_stages_need_follows_while_nobody_asks(tmp_path):
    """Who asks first is not kept waiting for it; forks that come later have it."""
    site = Site(tmp_path, modules="wave\nwrong calm")
    first = site.launch(PREFECT__NAP="60")
    assert said(first)[0] == "fork"
    until(lambda: said(site.launch())[0] == "forked")
    assert first.poll() is None
    assert "wrong cannot be imported" in (site.folder / "log").read_text()
    site.close()


def test_where_that_starts_a_thread_forks_go_on_without_it(tmp_path):
    """The process imports everything anew, less what the stages need; no fork is lost."""
    site = Site(tmp_path, modules="wave\nbusy calm")
    first = site.launch(PREFECT__NAP="60")
    assert said(first)[0] == "fork"
    until(lambda: "busy has started a thread" in (site.folder / "log").read_text())
    time.sleep(0.5)
    assert said(site.launch())[0] == "fork"
    assert (site.server.poll(), first.poll()) == (None, None)
    site.close()


def _python(code: str, folder: Path) -> str:
    """Run `code` with the variables of an installation; return what it prints."""
    environment = {**os.environ, **Stack(folder).variables, _launch.SOCKET: str(folder / "socket")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout


def test_what_is_imported_starts_no_thread(tmp_path):
    """All that a run and the stages need is imported, none of it fails, and the process still has one thread."""
    code = """
import os, sys
from flows import _forkserver as f
def serve(self):
    while self.later:
        self._import_next()
    print("ready", f._threads(), *sys.modules)
    sys.stdout.flush()
    os._exit(0)
f.ForkServer.serve = serve
f.main(f.NEEDED.split() + f.flow_modules(), f.STAGES.split())
"""
    ready, threads, *modules = _python(code, tmp_path).split()
    assert (ready, threads) == ("ready", "1")
    wanted = {
        name
        for path in (ROOT / "flows").glob("*.py")
        for name in re.findall(r"^ +(?:from|import) ((?:mlcore|bentos)[\w.]*)", path.read_text(), re.MULTILINE)
    }
    assert "mlcore.drift" in wanted
    assert wanted - {*modules} == {"mlcore.backtest", "mlcore.report.backtest"}  # by hand, and for minutes
    assert "deltalake" not in modules


def test_a_fork_computes_as_a_process_of_its_own_does(tmp_path):
    """As many threads of BLAS and OpenMP, and the same digits, whoever has imported them."""
    code = """
import hashlib, os, sys
def compute():
    import numpy as np, threadpoolctl
    from sklearn.ensemble import HistGradientBoostingRegressor
    rows = np.random.default_rng(0).normal(size=(2000, 8))
    answers = HistGradientBoostingRegressor(random_state=0).fit(rows, rows @ np.arange(8)).predict(rows)
    solved = np.linalg.lstsq(rows, answers, rcond=None)[0]
    pools = sorted((pool["internal_api"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info())
    print(pools, hashlib.sha256(answers.tobytes() + solved.tobytes()).hexdigest(), flush=True)
if sys.argv[1:] == ["fork"]:
    import scipy.stats, sklearn.ensemble
    if os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
compute()
"""
    alone, forked = (_python(code.replace("sys.argv[1:]", str(found)), tmp_path) for found in ([], ["fork"]))
    assert alone == forked
    assert "('openmp', 1)" in alone


def test_every_source_file_and_package_counts(tmp_path, monkeypatch):
    """A file that is changed, added or removed is other code."""
    monkeypatch.setattr(_forkserver, "_PROJECT", tmp_path)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.py").write_text("1")
    states = [_forkserver.code_state()]
    (tmp_path / "flows" / "a.py").write_text("12")
    states.append(_forkserver.code_state())
    (tmp_path / "flows" / "b.py").write_text("")
    states.append(_forkserver.code_state())
    assert all(state not in states[:number] for number, state in enumerate(states))
    (tmp_path / "flows" / "b.py").unlink()
    assert _forkserver.code_state() == states[1]
