"""A classifier through the same flows on a real server: announced, approved, served, retrained."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bentos.processes import free_port
from flows._cli.stack import Stack
from mlcore import events, registry
from mlcore.diagnosis import Diagnosis
from mlcore.errors import ApprovalError, ServerError, SettingsError
from mlcore.events import Event
from mlcore.ledger import audit
from mlcore.ledger.records import (
    Approval,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Evaluation,
    ModelVersion,
    QuarantinedBatch,
    Retraining,
    Wakeup,
    Window,
)
from tests.journeys.installation import PATIENCE, ROOT, Installation, installed
from tests.support import churn_rows

pytestmark = [pytest.mark.journey, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[Installation]:
    """One installation for the tests of this file, in the order they stand."""
    with installed(tmp_path_factory.mktemp("installation")) as installation:
        yield installation


def _announce(here: Installation, path: Path) -> None:
    event = Event(events.DATASET_ANNOUNCED, "churn", str(path), datetime.now(UTC), {"uri": str(path)})
    here.stack.server.post_events([event.to_wire()])


def _suspended(here: Installation, approval: Approval) -> bool:
    return here.stack.server.flow_run(approval.flow_run_id)["state"]["name"] == "Suspended"


def _serving(version: int):
    return lambda view: view.first(Deployment, usecase="churn", model_version=version, state="serving")


def test_1_one_event_leads_to_a_question(here, tmp_path_factory):
    """Announced data is published, trained on and judged by automations; the policy asks a person."""
    path = tmp_path_factory.mktemp("data") / "customers.csv"
    churn_rows(1500).to_csv(path, index=False)
    _announce(here, path)
    approval = here.until(lambda view: next((a for a in view.all(Approval) if a.flow_run_id), None))
    with here.ledger.read() as view:
        assert view.get(ModelVersion, usecase="churn", version=1).digest == approval.model_digest
        assert view.get(Evaluation, id=approval.evaluation_id).verdict == "promote"
        assert registry.alias(view, "churn", "champion") is None
    runs = here.stack.server.find_flow_runs()
    assert {(run["created_by"] or {}).get("type") for run in runs if not run["parent_task_run_id"]} <= {
        "AUTOMATION",
        "SCHEDULE",
    }
    here.until(lambda _: _suspended(here, approval))


def test_2_a_wrong_answer_asks_again_and_a_right_one_is_taken(here):
    """A stranger, and an answer without a reason, change nothing; then the form is there again."""
    approval = here.until(lambda view: view.first(Approval, usecase="churn", state="pending"))
    stranger = here.cli("approve", "--approver", "stranger@example.org", "--reason", "why not")
    assert stranger.returncode == 1
    assert "may not approve" in stranger.stderr
    assert "Traceback" not in stranger.stderr
    here.stack.server.resume(
        approval.flow_run_id, {"decision": "approve", "approver": "owner@example.org", "reason": "  "}
    )
    time.sleep(2)
    here.until(lambda _: _suspended(here, approval))
    with here.ledger.read() as view:
        assert view.get(Approval, id=approval.id).state == "pending"
    answered = here.cli("approve", "--approver", "owner@example.org", "--reason", "the gain is clear", "--json")
    assert answered.returncode == 0, answered.stderr
    with here.ledger.read() as view:
        kept = view.get(Approval, id=approval.id)
    assert (kept.state, kept.approver, kept.reason) == ("granted", "owner@example.org", "the gain is clear")
    with pytest.raises(ApprovalError):
        here.stack.server.resume(approval.flow_run_id, {"decision": "reject", "approver": "x", "reason": "y"})


def test_3_the_approved_model_serves(here):
    """Promotion, packaging and deployment follow by themselves; the answers name the version."""
    here.until(_serving(1))
    rows = [{"customer_id": 1, "seen_at": "2026-03-01T00:00:00Z", "plan": "pro", "monthly_fee": 10.0, "calls": 9}]
    answer = httpx.post(f"{here.stack.host_url}/churn/predict", json={"rows": rows}).json()
    assert answer["model_version"] == 1
    traced = here.cli("trace", "churn/model/1")
    for link in ("dataset version 1", "retrain:", "promote:", "granted by owner@example.org", "serving at"):
        assert link in traced.stdout
    assert "all as they were written" in here.cli("audit", "verify").stdout
    assert "version 1 at" in here.cli("status").stdout
    assert here.cli("doctor").returncode == 0


def test_4_forged_and_doubled_events_start_nothing(here):
    """Each event that the ledger does not justify has a row that says why it was ignored."""
    with here.ledger.read() as view:
        before = len(view.all(Retraining))
    bodies = []
    for window in ("churn/weekly/1999-01-01T00", "../../etc"):
        for _ in range(10):
            event = Event(events.DRIFT_DETECTED, "churn", str(uuid.uuid4()), datetime.now(UTC), {"window_id": window})
            bodies.append(event.to_wire())
    doubled = Event(
        events.DATASET_PUBLISHED,
        "churn",
        "again",
        datetime.now(UTC),
        {"dataset_version": 1},
        {"ml.dataset.origin": "announced"},
    )
    bodies.append(doubled.to_wire())
    here.stack.server.post_events(bodies)
    here.until(lambda view: all(view.get(Wakeup, event_id=body["id"]) for body in bodies))
    with here.ledger.read() as view:
        rows = [view.get(Wakeup, event_id=body["id"]) for body in bodies]
        assert len(view.all(Retraining)) == before
    assert {row.outcome for row in rows} == {"ignored"}
    assert {row.reason.split(":")[0] for row in rows} == {"not justified by the ledger", "same cause"}


def test_5_bad_data_is_quarantined_and_missing_data_is_told(here, tmp_path):
    """A broken file and a file that is not there: no version, reasons kept; by hand, a clear error."""
    churn_rows(200, seed=5).assign(calls=-4).to_csv(tmp_path / "broken.csv", index=False)
    _announce(here, tmp_path / "broken.csv")
    time.sleep(6)
    _announce(here, tmp_path / "missing.csv")
    batches = here.until(lambda view: b if len(b := view.all(QuarantinedBatch, usecase="churn")) == 2 else None)
    told = " ".join(reason for batch in batches for reason in batch.reasons)
    assert "calls: expected 0 to 100" in told
    assert "No such file" in told
    with here.ledger.read() as view:
        assert len(view.all(DatasetVersion, usecase="churn")) == 1
    by_hand = here.cli("publish", "churn", str(tmp_path / "missing.csv"))
    assert by_hand.returncode == 1
    assert "No such file" in by_hand.stderr
    assert "Traceback" not in by_hand.stderr
    unknown = here.cli("publish", "chrn", "x.csv")
    assert unknown.returncode == 1
    assert "churn" in unknown.stderr


def test_6_a_stage_can_be_started_by_hand_and_a_killed_one_is_carried_on(here, tmp_path):
    """New data, its training killed with SIGKILL in the middle: the loop goes on by itself, one version comes of it."""
    churn_rows(2500, seed=0).to_csv(tmp_path / "more.csv", index=False)
    here.stack.server.run_deployment("publish-dataset/default", {"usecase": "churn", "uri": str(tmp_path / "more.csv")})
    here.until(lambda view: view.first(Retraining, usecase="churn", state="running"))
    with here.unscheduled():
        killed = here.kill("retrain-churn")
        taken = here.taken_over("dataset:2", killed)
    # the crash itself woke another run; nobody waited for a lease or a schedule
    woken = here.stack.server.flow_run(taken)
    assert (woken["created_by"] or {})["type"] == "AUTOMATION"
    here.until(lambda view: not view.first(Retraining, usecase="churn", state="running"))
    done = here.until(lambda view: view.first(Retraining, usecase="churn", cause_key="dataset:2", state="done"))
    with here.ledger.read() as view:
        model = view.get(ModelVersion, usecase="churn", version=done.model_version)
        decisions = view.all(DecisionRecord, usecase="churn", cause_key="dataset:2")
        assert view.first(Evaluation, usecase="churn", model_version=model.version) is not None
    assert model.dataset_version == 2
    assert len(decisions) == 1
    audit.verify(here.ledger)


def test_7_every_run_left_its_sentence(here):
    """Whoever opens a run in the UI reads what happened and why."""
    done = [run for run in here.stack.server.find_flow_runs() if run["state"]["type"] == "COMPLETED"]
    told = {run["name"]: here.stack.server.sentence_of(run["id"]) for run in done}
    for name in (
        "publish-dataset-churn",
        "retrain-churn",
        "approve-churn",
        "promote-churn",
        "package-churn",
        "deploy-churn",
    ):
        assert told[name], name


def test_8_a_model_is_made_again_here_and_on_dask(here, tmp_path):
    """The same dataset version, lock and seed give the same digest: in this process, and on a cluster's workers."""
    with here.ledger.read() as view:
        first = view.get(ModelVersion, usecase="churn", version=1)
    for arguments in ((), ("--search",)):
        done = here.cli("reproduce", "churn/1", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["found"] == first.digest
    assert "no such model" in here.cli("reproduce", "churn/99").stderr
    script = tmp_path / "script.py"  # a file: the workers import their parent's
    script.write_text(
        "import asyncio, sys\nfrom flows.train import train\n"
        "if __name__ == '__main__':\n    asyncio.run(train('churn', int(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, script, str(first.dataset_version)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **here.stack.variables, "MLOPS_DASK": "local"},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    with here.ledger.read() as view:
        assert view.first(ModelVersion, order_by="-version", usecase="churn").digest == first.digest
    runs = httpx.post(
        f"{here.stack.api_url}/task_runs/filter", json={"task_runs": {"name": {"like_": "fold 0"}}}
    ).json()
    assert {run["state"]["type"] for run in runs} == {"COMPLETED"}


def test_9_a_storm_across_a_redeploy_a_restart_and_dead_parts(here):
    """1,000 drift events, each posted twice and in any order: one retraining, and each other event has its reason.

    In the middle the deployments are applied anew, the server is restarted, and worker and host are killed.
    """
    window = _harmed_window(here)
    chosen = [window] * 960 + ["churn/weekly/1999-01-01T00", "../../etc"] * 15
    bodies = [
        Event(events.DRIFT_DETECTED, "churn", str(uuid.uuid4()), datetime.now(UTC), {"window_id": item}).to_wire()
        for item in chosen
    ]
    names = [f"nobody-{number}" for number in range(10)]
    strangers = [
        Event(events.DRIFT_DETECTED, name, str(uuid.uuid4()), datetime.now(UTC), {"window_id": window}).to_wire()
        for name in names
    ]
    posted = [*bodies, *strangers] * 2
    random.Random(0).shuffle(posted)
    batches = [posted[start : start + 20] for start in range(0, len(posted), 20)]
    applying = None
    for number, batch in enumerate(batches):
        if number == len(batches) // 3:
            applying = subprocess.Popen(
                [sys.executable, "-m", "flows._cli.apply"],
                cwd=ROOT,
                env={**os.environ, **here.stack.variables},
                stdout=subprocess.DEVNULL,
            )
        if number == len(batches) // 2:
            assert applying is not None
            assert applying.wait(PATIENCE) == 0
            os.kill(here.stack.part("worker").pid, signal.SIGKILL)
            os.kill(here.stack.part("host").pid, signal.SIGKILL)
            os.kill(here.stack.part("server").pid, signal.SIGTERM)
        _post(here, batch)
        time.sleep(0.1)
    left = {body["id"] for body in (*bodies, *strangers)}

    def all_have_a_row(view) -> bool:
        left.difference_update(view.existing(Wakeup, sorted(left)))
        return not left

    here.until(all_have_a_row)
    done = here.until(lambda view: view.first(Retraining, usecase="churn", cause_key=f"window:{window}", state="done"))
    with here.ledger.read() as view:
        rows = [view.get(Wakeup, event_id=body["id"]) for body in bodies]
        decisions = view.all(DecisionRecord, usecase="churn", cause_key=f"window:{window}")
        retrainings = view.all(Retraining, usecase="churn", cause_key=f"window:{window}")
        versions = [item.version for item in view.all(ModelVersion, usecase="churn", cause_key=done.cause_key)]
        why = {view.get(Wakeup, event_id=body["id"]).reason.split(":")[0] for body in strangers}
    assert Counter(row.outcome for row in rows) == {"acted": 1, "ignored": len(bodies) - 1}
    reasons = Counter(row.reason.split(":")[0] for row in rows if row.outcome == "ignored")
    assert reasons == {"same cause": 959, "not justified by the ledger": 30}
    assert why == {"unknown use case"}
    woken = here.stack.server.find_flow_runs(flow_runs={"deployment_id": {"is_null_": False}})
    assert {run["run_count"] for run in woken if run["parameters"].get("usecase") in names} <= {0}  # no process each
    assert len(decisions) == len(retrainings) == 1
    assert versions == [done.model_version]
    audit.verify(here.ledger)
    rows = [{"customer_id": 1, "seen_at": "2026-03-01T00:00:00Z", "plan": "pro", "monthly_fee": 10.0, "calls": 9}]
    here.until(lambda _: _answers(here, rows))


def _harmed_window(here) -> str:
    """Keep a window that a model did badly on, as `monitor` leaves it; return its id."""
    now, start = datetime.now(UTC), datetime(2026, 6, 1, tzinfo=UTC)
    window = Window(
        "churn/weekly/2026-06-01T00", "churn", "weekly", start, start + timedelta(days=7), 500, 500, "diagnosed", now
    )
    found = Diagnosis("harmful_shift", "Fees have moved, and the error with them.", (), {})
    record = DiagnosisRecord(
        str(uuid.uuid4()), "churn", window.id, 1, found.cause, found.sentence, found.to_json(), now
    )
    with here.ledger.transaction() as tx:
        tx.add(window)
        tx.add(record)
    return window.id


def _post(here, bodies: list[dict[str, Any]]) -> None:
    """Post events as another system would: what is refused, or finds nobody, is posted again."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if httpx.post(f"{here.stack.api_url}/events", json=bodies, timeout=30).is_success:
                return
        except httpx.TransportError:
            pass
        here.stack.mend()
        time.sleep(0.3)
    pytest.fail("the server does not come back")


def _answers(here, rows: list[dict[str, Any]]) -> bool:
    try:
        return httpx.post(f"{here.stack.host_url}/churn/predict", json={"rows": rows}, timeout=10).is_success
    except httpx.TransportError:
        return False


def test_10_a_taken_port_is_one_clear_error(here, tmp_path):
    """A second installation on the same port says so and leaves nothing running."""
    other = Stack(tmp_path / "other", server_port=here.stack.server_port, host_port=free_port())
    with pytest.raises(SettingsError, match="port is taken"):
        other.start()
    assert here.stack.server.healthy()


def test_11_a_dead_server_is_one_clear_error(tmp_path):
    """Commands that need a server say which one they looked for."""
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "MLOPS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "flows._cli", "publish", "bikeshare", "x.csv"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9/api" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_means_server_error():
    """The client's own error type, with a remedy."""
    from flows._server import Server

    with pytest.raises(ServerError, match="make up"):
        Server("http://127.0.0.1:9/api", attempts=1).post_events([])
