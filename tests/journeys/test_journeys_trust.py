"""An authenticated server, on PostgreSQL where one answers, and owners who are told.

Every part of the loop with a credential, alerts at a receiver.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from mlcore import events, registry
from mlcore.errors import ServerError
from mlcore.events import Event
from mlcore.ledger.outbox import deliver, waiting
from mlcore.ledger.records import Approval, Deployment
from tests.journeys.installation import PATIENCE, ROOT, Installation, installed
from tests.journeys.test_journeys_approval import _ask, _resume
from tests.journeys.test_journeys_loop import _announce
from tests.support import churn_rows, postgres_database

pytestmark = [pytest.mark.journey, pytest.mark.timeout(2 * PATIENCE)]
CREDENTIAL = "operator:a-secret:with-a-colon"
_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
text = {"subject": "{{subject}}", "body": "{{body}}"}
CustomWebhookNotificationBlock(name="ops", url=sys.argv[1], json_data=text).save("ops")
"""


class _Receiver(ThreadingHTTPServer):
    """What a chat's webhook is: keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[_Receiver]:
    """A receiver of alerts."""
    server = _Receiver()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """Settings of an installation that has outgrown SQLite, where a PostgreSQL answers."""
    with postgres_database() as ledger, postgres_database() as server:
        yield (
            {
                "MLOPS_LEDGER_URL": f"postgresql+psycopg://{ledger}",
                "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{server}",
            }
            if server
            else {}
        )


@pytest.fixture(scope="module")
def here(tmp_path_factory, databases) -> Iterator[Installation]:
    """An installation whose server wants a credential, and whose owner names a block that is not there yet."""

    def notify(usecase: dict[str, Any]) -> None:
        usecase["owner"]["notify"] = ["custom-webhook/ops"]
        usecase["training"]["candidates"] = usecase["training"]["candidates"][:1]
        usecase["training"]["search"]["trials"] = 1

    variables = {"PREFECT_SERVER_API_AUTH_STRING": CREDENTIAL, **databases}
    with installed(tmp_path_factory.mktemp("installation"), notify, **variables) as installation:
        yield installation


def _told(here: Installation, receiver: _Receiver, *words: str) -> dict[str, str]:
    """Wait until an alert with all of `words` has come."""

    def find(_):
        return next((item for item in receiver.told if all(word in str(item) for word in words)), None)

    return here.until(find)


def _deliver(here: Installation) -> None:
    """Deliver what is in the outbox, also to a server that is busy now."""
    later = itertools.count()
    here.until(
        lambda view: (
            deliver(here.ledger, here.stack.server.post_events, datetime.now(UTC) + timedelta(minutes=5 * next(later)))
            and not waiting(view)
        )
    )


def _taken(call: Callable[[], object]) -> bool:
    """Whether the server did as asked; one that is busy is asked again."""
    try:
        call()
    except ServerError:
        return False
    return True


def _alerts(here: Installation) -> dict[str, object]:
    return next(item for item in json.loads(here.cli("doctor", "--json").stdout)["checks"] if item["part"] == "alerts")


def test_1_nobody_gets_in_without_the_credential(here):
    """The server refuses; the command says what to set, in one sentence."""
    assert httpx.post(f"{here.stack.api_url}/flow_runs/filter", json={}).status_code == 401
    for wrong in ("operator:wrong", ""):
        done = subprocess.run(
            [sys.executable, "-m", "flows._cli", "publish", "churn", "x.csv"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, **here.stack.variables, "PREFECT_API_AUTH_STRING": wrong},
            timeout=180,
        )
        assert done.returncode == 1
        assert "HTTP 401" in done.stderr
        assert "Set PREFECT_API_AUTH_STRING" in done.stderr
        assert "Traceback" not in done.stderr


def test_2_a_missing_block_is_told_and_holds_nothing_up(here, receiver):
    """The installation has started without it; doctor says so; made, it is found."""
    before = _alerts(here)
    assert not before["healthy"]
    assert "custom-webhook/ops" in before["found"]
    assert here.cli("alerts").returncode == 1
    subprocess.run(
        [sys.executable, "-c", _BLOCK, receiver.url],
        check=True,
        cwd=ROOT,
        env={**os.environ, **here.stack.variables},
        timeout=180,
    )
    done = here.cli("alerts")
    assert done.returncode == 0, done.stderr
    assert _alerts(here)["found"] == "1 blocks are told"


def test_3_a_question_is_told_and_answered_by_the_form(here, receiver):
    """With the credential the form's call is taken; the answer is on record."""
    approval = _ask(here)
    assert approval.id in _told(here, receiver, "version 1 waits for approval")["body"]
    _resume(here, approval, decision="reject", approver="owner@example.org", reason="not yet")
    denied = here.until(lambda view: view.first(Approval, id=approval.id, state="denied"))
    assert denied.reason == "not yet"


def test_4_the_loop_runs_and_serves(here, receiver, tmp_path):
    """Announced, trained, asked, approved by the command, promoted, served; the service announces what it captures."""
    churn_rows(1500).to_csv(tmp_path / "customers.csv", index=False)
    _announce(here, tmp_path / "customers.csv")
    asked = here.until(
        lambda view: next((item for item in view.all(Approval, state="pending") if item.flow_run_id), None)
    )
    answered = here.cli("approve", asked.id, "--approver", "owner@example.org", "--reason", "a clear gain")
    assert answered.returncode == 0, answered.stderr
    here.until(lambda view: registry.alias(view, "churn", "champion"))
    here.until(lambda view: view.first(Deployment, usecase="churn", model_version=2, state="serving"))
    rows = [{"customer_id": 1, "seen_at": "2026-03-01T00:00:00Z", "plan": "pro", "monthly_fee": 10.0, "calls": 9}]
    answer = httpx.post(f"{here.stack.host_url}/churn/predict", json={"rows": rows}, timeout=60).json()
    assert answer["model_version"] == 2
    now = datetime.now(UTC)

    def sealed(_):
        found = here.stack.server.find_events(
            [events.CAPTURE_SEALED], since=now - timedelta(hours=1), until=now + timedelta(hours=1)
        )
        return list(found)

    assert here.until(sealed)[0].resource_id == "ml.usecase.churn"
    page = tmp_path / "trace.html"
    traced = here.cli("trace", "churn/dataset/1", "--html", str(page), "--json")
    assert {"dataset", "model", "evaluation", "approval", "bento", "deployment"} <= {
        step["kind"] for step in json.loads(traced.stdout)["steps"]
    }
    assert "a clear gain" in page.read_text()


def test_5_the_owner_is_told_of_everything_that_needs_a_person(here, receiver, tmp_path):
    """Reminders, a rejected model, a data fault, a failed deployment, and a run that has failed."""
    payload = {"approval_id": "a", "model_version": 7, "evaluation_id": "e", "window_id": "w7", "deployment_id": "d"}
    with here.ledger.transaction() as tx:
        for name in (
            events.APPROVAL_REMINDED,
            events.MODEL_REJECTED,
            events.QUALITY_FAILED,
            events.DEPLOYMENT_FAILED,
        ):
            tx.announce(Event(name, "churn", "told", datetime.now(UTC), payload))
    _deliver(here)
    missing = str(tmp_path / "missing.csv")
    run = {"usecase": "churn", "uri": missing}
    here.until(lambda _: _taken(lambda: here.stack.server.run_deployment("publish-dataset/default", run)))
    for words in (
        ("version 7 still waits", "mlops approve a"),
        ("version 7 was not promoted", "Evaluation e"),
        ("the live data is faulty", "w7"),
        ("version 7 could not be deployed", "Deployment d"),
        ("publish-dataset-churn failed", "No such file"),
    ):
        assert _told(here, receiver, *words)["subject"].startswith("Customers who leave: ")
