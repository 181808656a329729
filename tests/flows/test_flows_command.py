"""The command on installations that are broken: one clear error with a remedy and an exit code, in JSON where asked."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from flows import _server
from flows._cli import app, status
from flows._cli.apply import PROJECT
from flows._cli.lint import read
from flows._server import Server
from flows.settings import settings
from mlcore.errors import LedgerError, ServerError
from mlcore.ledger.store import Ledger

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "status",
    "models churn",
    "models churn 3",
    "audit verify",
    "audit head",
    "audit show",
    "trace x",
    "approve --approver a@example.org --reason b",
    "reproduce churn/1",
    "erase churn x --reason y",
    "backtest churn",
)
ON_THE_SERVER = ("alerts", "publish churn x.csv", "rollback churn why", "score churn a b")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home whose server and host are away."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_USECASES", str(ROOT / "tests" / "usecases"))
    monkeypatch.setenv("MLOPS_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("MLOPS_HOST_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("MLOPS_LEDGER_URL", raising=False)
    monkeypatch.setattr(_server, "_FIRST_PAUSE_SECONDS", 0.001)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def _run(monkeypatch, capsys, line: str, *, code: int = 1) -> dict:
    """Run a command that must fail; return what it says as JSON."""
    settings.cache_clear()
    monkeypatch.setattr(sys, "argv", ["mlops", *line.split(), "--json"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    told = capsys.readouterr()
    assert ended.value.code == code, (line, told)
    assert "Traceback" not in told.err
    return json.loads(told.out)


def _made(home: Path) -> Path:
    path = home / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    return path


def _truncated(home: Path) -> None:
    path = _made(home)
    path.write_bytes(path.read_bytes()[:40_000])
    for rest in home.glob("ledger.db-*"):
        rest.unlink()


def _newer(home: Path) -> None:
    connection = sqlite3.connect(_made(home))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()


BROKEN = {
    "none": (lambda _: None, "no installation here", "`make up` makes one"),
    "no database": (lambda home: (home / "ledger.db").write_bytes(b"x" * 5000), "not a database", "MLOPS_LEDGER_URL"),
    "truncated": (_truncated, "malformed", "MLOPS_LEDGER_URL"),
    "newer": (_newer, "made by newer code", "Update this installation"),
    "a folder": (lambda home: (home / "ledger.db").mkdir(), "no installation here", "`make up` makes one"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_ledger_that_cannot_be_used_is_one_clear_error(home, monkeypatch, capsys, kind):
    """By every command that reads it; doctor says it of the ledger, and of all else what is so."""
    breaks, told, remedy = BROKEN[kind]
    breaks(home)
    for line in COMMANDS:
        error = _run(monkeypatch, capsys, line)["error"]
        assert told in error["text"], line
        assert remedy in error["remedy"], line
        assert error["kind"].endswith("Error")
    checks = {item["part"]: item for item in _run(monkeypatch, capsys, "doctor")["checks"]}
    assert told in checks["ledger"]["found"]
    assert [name for name, item in checks.items() if item["healthy"]] == ["use cases"]


def test_a_server_that_is_away_is_one_clear_error(home, monkeypatch, capsys):
    """By every command that needs one."""
    _made(home)
    for line in ON_THE_SERVER:
        error = _run(monkeypatch, capsys, line)["error"]
        assert (error["kind"], "make up" in error["remedy"]) == ("ServerError", True), line


@pytest.mark.parametrize("name", ["nobody", "../churn", "churn/../churn", ".", "", "\0", "x" * 5000])
def test_a_use_case_that_is_not_there_is_one_clear_error(home, monkeypatch, capsys, name):
    """Whatever the name is, no other folder is looked at; those that are there are named."""
    _made(home)
    monkeypatch.setattr(sys, "argv", ["mlops", "models", name, "--json"])
    with pytest.raises(SystemExit):
        app.main()
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["message"], told["expected"]) == ("no such use case", "one of churn")


def test_a_use_case_that_is_no_yaml_names_the_line(home, monkeypatch, capsys):
    """The others of the installation do not hide it."""
    (home / "usecases" / "churn").mkdir(parents=True)
    (home / "usecases" / "churn" / "usecase.yaml").write_text("a: [1\n b")
    monkeypatch.setenv("MLOPS_USECASES", str(home / "usecases"))
    _made(home)
    for line in ("status", "models churn", *ON_THE_SERVER):
        error = _run(monkeypatch, capsys, line)["error"]
        assert "usecase.yaml:2" in error["subject"], line
    assert not _run(monkeypatch, capsys, "doctor")["checks"][0]["healthy"]


@pytest.mark.parametrize("line", ["nosuch", "models", "status a b c", "audit show --limit x", "status --nosuch"])
def test_a_command_that_is_wrong_itself_is_told_in_json_too(home, monkeypatch, capsys, line):
    """With an exit code of its own."""
    error = _run(monkeypatch, capsys, line, code=2)["error"]
    assert error["message"] == "the command cannot be understood"
    assert error["got"]


def test_a_disk_that_refuses_is_one_clear_error(home, monkeypatch, capsys):
    """What the operating system says is no traceback."""
    _made(home)

    def full(_: str) -> None:
        raise OSError(28, "No space left on device", "ledger.db")

    monkeypatch.setattr(status, "status", full)
    error = _run(monkeypatch, capsys, "status")["error"]
    assert (error["kind"], error["subject"], error["got"]) == ("StorageError", "ledger.db", "No space left on device")


def _server_with(monkeypatch, deployments: list, automations: list, workers: list | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if "workers" in path:
            return httpx.Response(404 if workers is None else 200, json=workers or {"detail": "none"})
        return httpx.Response(200, json=deployments if "deployments" in path else automations)

    client = httpx.Client(base_url="http://s/api", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(Server, "__init__", lambda self, *_, **__: self.__dict__.update(_client=client, _attempts=1))
    monkeypatch.setattr(Server, "api_url", "http://s/api", raising=False)


def test_doctor_tells_of_a_server_that_lost_its_deployments_and_of_no_worker(home, monkeypatch):
    """A server whose database was made anew answers, and does nothing."""
    wanted = read(PROJECT / "prefect.yaml")["deployments"]
    deployments = [{"entrypoint": item["entrypoint"]} for item in wanted]
    triggers = [trigger["name"] for item in wanted for trigger in item.get("triggers", ())]
    automations = [{"name": name, "enabled": True} for name in triggers]
    here = settings()
    _server_with(monkeypatch, deployments, automations, [{"name": "w", "status": "ONLINE"}])
    assert f"{len(wanted)} deployments, {len(triggers)} automations" in status._server_check(here)
    assert status._worker_check(here) == "w"
    _server_with(monkeypatch, deployments[1:], automations, [{"name": "w", "status": "OFFLINE"}])
    with pytest.raises(ServerError, match=r"flows/publish\.py:publish is missing"):
        status._server_check(here)
    with pytest.raises(ServerError, match="no worker polls"):
        status._worker_check(here)
    off = [{"name": name, "enabled": name != triggers[2]} for name in triggers[1:]]
    _server_with(monkeypatch, deployments, off, None)
    with pytest.raises(ServerError, match=f"'{triggers[0]}' is missing; '{triggers[2]}' is switched off"):
        status._server_check(here)
    with pytest.raises(ServerError, match="no worker polls"):
        status._worker_check(here)


@pytest.mark.parametrize(
    ("code", "told"),
    [(401, "PREFECT_API_AUTH_STRING"), (404, "made anew"), (422, "does not fit"), (503, "Is it running?")],
)
def test_what_a_server_refuses_has_a_remedy_of_its_own(home, monkeypatch, capsys, code, told):
    """Without the credential, without deployments, with another version, busy: what to do differs."""
    client = httpx.Client(
        base_url="http://s/api", transport=httpx.MockTransport(lambda _: httpx.Response(code, json={"detail": "no"}))
    )
    monkeypatch.setattr(Server, "__init__", lambda self, *_, **__: self.__dict__.update(_client=client, _attempts=2))
    monkeypatch.setattr(Server, "api_url", "http://s/api", raising=False)
    error = _run(monkeypatch, capsys, "rollback churn why")["error"]
    assert f"HTTP {code}" in error["got"]
    assert told in error["remedy"]


def test_an_error_keeps_its_parts_in_json():
    """A program reads what a person reads."""
    error = LedgerError("gone", subject="row 3", expected="it", got="none", remedy="Look.")
    assert error.to_json() == {
        "kind": "LedgerError",
        "message": "gone",
        "subject": "row 3",
        "expected": "it",
        "got": "none",
        "remedy": "Look.",
        "text": "gone (row 3): expected it, got none. Look.",
    }


def test_up_is_where_the_settings_say(tmp_path):
    """As every other command is; and a port that is taken is told of before anything starts."""
    home = tmp_path / "here"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = subprocess.run(
            [sys.executable, "-m", "flows._cli", "up", "--server-port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "MLOPS_HOME": str(home)},
            timeout=120,
        )
    assert (told.returncode, home.is_dir()) == (1, True)
    assert "the port is taken" in told.stderr
