"""Housekeeping: windows close in any case, captured rows go when they are due or when somebody asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import maintain
from flows._cli.erase import erase
from flows._context import Context
from flows._server import Server
from flows.settings import Settings, settings
from mlcore import events
from mlcore.capture.collect import collect
from mlcore.capture.records import label_record, prediction_record
from mlcore.capture.spool import Spool
from mlcore.errors import CaptureError, UseCaseError
from mlcore.ledger import audit
from mlcore.ledger.records import AuditEntry, OutboxEntry, Window
from mlcore.policy.serving import ServingPolicy

ROOT = Path(__file__).parents[2]
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def context(ledger, churn, tmp_path) -> Context:
    """A run of a use case with weekly windows, whose server is away."""
    return Context(Settings(home=tmp_path), churn, ledger, Server("http://127.0.0.1:9/api", attempts=1), "run")


def _serve(context: Context, *days: int, received: datetime | None = None) -> None:
    """Leave in the spool what the service captures: one row a day, named after it, and its label."""
    spool = Spool(context.settings.spool / context.name)
    for day in days:
        at = (MONDAY + timedelta(days=day)).isoformat()
        came = (received or MONDAY + timedelta(days=day)).isoformat()
        row = {"customer_id": day, "seen_at": at, "plan": "pro", "monthly_fee": 5.5, "calls": 2}
        spool.append(
            [
                prediction_record(
                    context.usecase.contract,
                    row,
                    row_id=f"row-{day}",
                    request_id="q",
                    received_at=came,
                    scored_at=came,
                    model_version=1,
                    prediction=True,
                    probabilities=None,
                    hash_key=b"key",
                ),
                label_record(f"row-{day}", True, came),
            ]
        )
    spool.close()


def _all(context: Context, kind, **equal):
    with context.ledger.read() as view:
        return view.all(kind, **equal)


def test_a_window_closes_although_nothing_new_was_collected(context):
    """A run was killed after it had collected: the next one closes what is due, without waiting for traffic."""
    _serve(context, 1, 8)
    collect(context.settings.spool / context.name, context.captures)
    assert maintain._collect(context, flush=False)[1:] == ["closed churn/weekly/2026-03-02T00: 1 rows, 1 labelled"]
    assert maintain._collect(context, flush=False) == []
    assert len(_all(context, Window)) == len(_all(context, OutboxEntry, event=events.WINDOW_CLOSED)) == 1
    assert len(maintain._collect(context, flush=True)) == 2
    assert maintain._collect(context, flush=True) == []


def test_rows_that_were_looked_at_are_not_read_again(context, monkeypatch):
    """Every minute's look costs nothing until something changes in the tables, or in the policy."""
    _serve(context, 1)
    maintain._collect(context, flush=False)
    read = []
    summary = type(context.captures).summary
    monkeypatch.setattr(type(context.captures), "summary", lambda store: read.append(1) or summary(store))
    maintain._collect(context, flush=False)
    assert read == []
    _serve(context, 9)
    assert len(maintain._collect(context, flush=False)) == 2
    assert read == [1]


def test_retention_removes_what_is_old_once_a_day_and_on_record(context, monkeypatch):
    """Rows and labels received before go; what the policy keeps stays; without a policy nothing goes."""
    now = MONDAY + timedelta(days=30)
    monkeypatch.setattr(Context, "now", lambda _: now)
    _serve(context, 1, 2)
    _serve(context, 3, received=now - timedelta(days=2))
    maintain._collect(context, flush=False)
    assert maintain._forget(context) == []
    assert len(context.captures.read()) == 3
    usecase = context.usecase.model_copy(update={"serving": ServingPolicy(retention=timedelta(days=7))})
    context = Context(context.settings, usecase, context.ledger, context.server, "run")
    assert maintain._forget(context) == [f"forgot 2 rows received before {now - timedelta(days=7):%Y-%m-%d %H:%M} UTC"]
    assert context.captures.read()["row_id"].tolist() == ["row-3"]
    assert context.captures.known(["row-1", "row-3"]) == {"row-3"}
    [entry] = _all(context, AuditEntry, action="capture.forgotten")
    assert (entry.actor, entry.facts["rows"]) == ("policy", 2)
    _serve(context, 4)
    maintain._collect(context, flush=False)
    assert maintain._forget(context) == []
    now += timedelta(days=1)
    assert len(maintain._forget(context)) == 1
    audit.verify(context.ledger)


def test_erasing_is_whole_on_record_and_refuses_what_it_does_not_know(tmp_path, monkeypatch):
    """Also what nobody has collected yet; one id too many and nothing is removed."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_USECASES", str(ROOT / "tests" / "usecases"))
    settings.cache_clear()
    from flows._context import open_context

    context = open_context("churn")
    _serve(context, 1, 2, 3)
    for wanted, told in ((("row-1", "row-9"), "row-9"), ((), "say which rows"), ((f"x{n}" for n in range(9)), "and 4")):
        with pytest.raises(CaptureError, match=told):
            erase("churn", tuple(wanted), reason="asked for", actor="ann")
    assert len(context.captures.read()) == 3
    with pytest.raises(UseCaseError):
        erase("chrn", ("row-1",), reason="asked for", actor="ann")
    facts, text = erase("churn", ("row-1", "row-3", "row-1"), reason="a customer asked", actor="ann")
    assert (facts["rows"], "2 rows of churn" in text) == (2, True)
    assert context.captures.read()["row_id"].tolist() == ["row-2"]
    assert context.captures.known(["row-1", "row-2", "row-3"]) == {"row-2"}
    asked, done = _all(context, AuditEntry, order_by="sequence")
    assert (asked.action, done.action) == ("capture.erasure-asked", "capture.erased")
    assert (done.actor, done.facts["row_ids"], done.facts["reason"]) == ("ann", ["row-1", "row-3"], "a customer asked")
    audit.verify(context.ledger)
    files = [path.read_bytes() for path in Path(context.settings.lake_root).rglob("*.parquet")]
    assert not any(b"row-1" in content for content in files)
    settings.cache_clear()
