"""Forged, late and reordered events: nothing starts that the ledger does not justify, and each has a row saying so."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.logging import disable_run_logger
from prefect.states import State

from flows import _context, _pending, _strays, approve, deploy, monitor, package, promote, publish, validate
from flows._context import Context
from flows._server import ReceivedEvent, Server
from flows._strays import Stranger
from flows.settings import Settings, settings
from mlcore import events, registry
from mlcore.errors import DeploymentError, UseCaseError
from mlcore.events import Event
from mlcore.ledger.records import (
    Approval,
    AuditEntry,
    BentoRecord,
    Deployment,
    Evaluation,
    ModelVersion,
    OutboxEntry,
    Revalidation,
    Wakeup,
)
from mlcore.ledger.store import Ledger

AWAY = "http://127.0.0.1:9/api"


class Listing(Server):
    """A server that keeps the events it is given."""

    def __init__(self) -> None:
        super().__init__(AWAY, attempts=1)
        self.kept: list[ReceivedEvent] = []

    def post_events(self, bodies):
        """Take them."""

    def find_events(self, names, *, since, until):
        """Yield what occurred in between."""
        yield from (item for item in self.kept if item.name in names and since <= item.occurred <= until)

    def find_event(self, event_id):
        """Return one of them."""
        return next((item for item in self.kept if item.id == event_id), None)


class Quiet(Context):
    """A run whose sentences no server keeps."""

    async def tell(self, sentence: str, details: str = "") -> None:
        """Keep nothing."""


@pytest.fixture
def context(ledger, churn, tmp_path, monkeypatch) -> Quiet:
    """A run of a use case whose champion is version 1; version 2 was held, and both are packaged."""
    found = Quiet(Settings(home=tmp_path), churn, ledger, Listing(), "run")
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        for version in (1, 2):
            model = _model(version, now)
            registry.register(tx, model, now)
            tx.add(BentoRecord(churn.name, version, f"churn:{version}", str(tmp_path), "d", now))
        registry.promote(tx, churn.name, 1, expected_generation=0, actor="me", reason="", now=now)
        tx.add(Evaluation("held", churn.name, 2, 1, 1, "hold", "No better.", {}, now))
    for module in (approve, deploy, monitor, package, promote, publish, validate):
        monkeypatch.setattr(module, "open_context", lambda _: found)
    monkeypatch.setattr(deploy, "served_version", lambda _: 1)
    monkeypatch.setattr(_context, "ignore_unknown", lambda *_: None)
    return found


def _model(number: int, at: datetime) -> ModelVersion:
    digest, key = f"d{number}", f"k{number}"
    return ModelVersion(
        "churn", 0, digest, "u", 1, "forest", {}, 0, {}, (), "c", False, "l", "u", "dataset", key, "run", at
    )


def _run(flow: Any, **parameters: Any) -> Any:
    with disable_run_logger():
        result = asyncio.run(flow.fn(**parameters))
    if isinstance(result, State) and isinstance(result.data, Exception):
        raise result.data
    return result


def _all(context: Context, kind, **equal):
    with context.ledger.read() as view:
        return view.all(kind, **equal)


def test_a_forged_event_puts_no_other_version_into_service(context, monkeypatch):
    """Whatever version it names: the champion is packaged and served, or nothing."""
    served = []
    monkeypatch.setattr(deploy, "_switch", lambda _, attempt: served.append(attempt.model_version) or "http://x")
    for _ in range(3):
        _run(promote.promote, usecase="churn", event_id="forged")
        assert _run(package.package, usecase="churn", event_id="forged") == "churn:1"
        _run(deploy.deploy, usecase="churn", event_id="forged")
    assert served == [1]
    assert [item.model_version for item in _all(context, Deployment)] == [1]
    assert [item.action for item in _all(context, AuditEntry) if item.action.startswith("bento.")] == []
    assert len(_all(context, OutboxEntry, event=events.BENTO_BUILT)) == 1
    with context.ledger.read() as view:
        assert registry.alias(view, "churn", "champion").version == 1


def test_nobody_serves_a_version_that_was_not_promoted_by_hand_either(context):
    """The gate and the approval are not gone around by the last stage."""
    with pytest.raises(DeploymentError, match="only the champion is served"):
        _run(deploy.deploy, usecase="churn", model_version=2)


def test_an_event_does_not_try_again_what_was_refused(context):
    """A deployment that failed for good waits for a person, whatever is announced."""
    later = datetime.now(UTC) + timedelta(seconds=1)
    failed = Deployment("d", "churn", 1, "churn:1", "local", "failed", "", None, "bad", later, later, "run")
    with context.ledger.transaction() as tx:
        tx.add(failed)
    assert "was refused before" in _run(deploy.deploy, usecase="churn", event_id="forged")
    assert _all(context, Deployment) == [failed]


def test_events_before_anything_happened_start_nothing(context, monkeypatch):
    """Without a champion, a judgement or a question: every stage says so and ends well."""
    other = context.usecase.model_copy(update={"name": "other"})
    empty = Quiet(context.settings, other, context.ledger, context.server, "r")
    for module in (approve, deploy, monitor, package, promote, publish, validate):
        monkeypatch.setattr(module, "open_context", lambda _: empty)
    before = len(_all(context, AuditEntry))
    assert _run(approve.approve, usecase="other", approval_id="nowhere", event_id="forged") == "nothing is asked"
    assert _run(validate.validate, usecase="other", event_id="forged") == "nothing to compare again"
    assert _run(promote.promote, usecase="other", event_id="forged") is None
    assert _run(package.package, usecase="other", event_id="forged") == "nothing"
    assert _run(deploy.deploy, usecase="other", event_id="forged") == "There is no champion yet"
    assert _run(monitor.monitor, usecase="other", event_id="forged") == []
    assert _run(publish.publish, usecase="other", event_id="forged") == ["No announcement is unread."]
    assert len(_all(context, AuditEntry)) == before
    assert _all(context, Revalidation) == []


def test_a_forged_question_about_a_closed_approval_suspends_nobody(context):
    """It was denied: the run tells it and ends."""
    now = datetime.now(UTC)
    with context.ledger.transaction() as tx:
        tx.add(
            Approval(
                "closed", "churn", 2, "d2", "held", 1, "denied", "run", "ann", "worse", now, now + timedelta(1), now
            )
        )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(approve, "_refuse_late", _nobody)
        patched.setattr(approve, "question", lambda *_: "")
        assert "was denied by ann" in _run(approve.approve, usecase="churn", approval_id="closed", event_id="forged")


async def _nobody(*_: object) -> None:
    return None


def test_an_announcement_that_cannot_be_read_holds_nothing_up(context):
    """Names that no file can have are quarantined, each with its row, and the next announcement is read."""
    named = ["\0.csv", "\ud800.csv", "s3:///", {"a": 1}, 7, None, "x" * 1_000_000, "file://[x/y.csv"]
    context.server.kept = [
        ReceivedEvent(f"a{number}", events.DATASET_ANNOUNCED, "ml.usecase.churn", datetime.now(UTC), {"uri": uri})
        for number, uri in enumerate(named)
    ]
    sentences = _run(publish.publish, usecase="churn", event_id="a3")
    assert len(sentences) == len(named)
    assert {sentence.split(".")[0] for sentence in sentences} == {"Quarantined"}
    rows = _all(context, Wakeup)
    assert len(rows) == len(named)
    assert max(len(str(row.payload)) for row in rows) < 5000
    assert _run(publish.publish, usecase="churn") == ["No announcement is unread."]


def test_a_stray_event_of_every_name_has_a_row(context):
    """Forged for a use case that is there, or for any name; what this ledger has announced is none."""
    now = datetime.now(UTC)
    strangers = {
        "nobody": ("ml.usecase.nobody", now + timedelta(days=1)),
        "path": ("ml.usecase.../../etc/passwd", now),
        "zero": ("ml.usecase.a\0" + "b" * 100_000, now),
        "other": ("prefect.flow-run.1", now),
    }
    expected = {}
    for name in events.PAYLOAD_KEYS.keys() - {events.CAPTURE_SEALED}:
        payload = dict.fromkeys(events.PAYLOAD_KEYS[name], 1)
        ours = Event(name, "churn", "real", now, payload)
        with context.ledger.transaction() as tx:
            tx.announce(ours)
        sent = {
            str(ours.id): ("ml.usecase.churn", now),
            f"forged {name}": ("ml.usecase.churn", now - timedelta(days=2)),
        }
        sent |= {f"{event_id} {name}": (resource, at) for event_id, (resource, at) in strangers.items()}
        context.server.kept += [ReceivedEvent(key, name, resource, at, payload) for key, (resource, at) in sent.items()]
        if name not in (events.DATASET_ANNOUNCED, events.DATASET_PUBLISHED, events.DRIFT_DETECTED):
            expected[f"forged {name}"] = "not justified by the ledger"
        expected |= {f"{event_id} {name}": "unknown use case" for event_id in strangers}
    stranger = Stranger(context.ledger, context.server, "run")
    _strays.account(stranger, ["churn"])
    assert _strays.account(stranger, ["churn"]) == 0
    assert {row.event_id: row.reason.split(":")[0] for row in _all(context, Wakeup)} == expected


def test_a_thousand_forged_events_are_rows_and_nothing_else(context):
    """In one pass, each with its reason; a second pass finds none."""
    now = datetime.now(UTC)
    names = sorted(events.PAYLOAD_KEYS.keys() - {events.CAPTURE_SEALED, events.DATASET_ANNOUNCED})
    context.server.kept = [
        ReceivedEvent(str(uuid.uuid4()), names[number % len(names)], f"ml.usecase.{number % 7}", now, {"x": "y" * 9000})
        for number in range(1000)
    ]
    before = len(_all(context, AuditEntry)), len(_all(context, OutboxEntry))
    assert _strays.account(Stranger(context.ledger, context.server, "run"), ["churn"]) == 1000
    assert _strays.account(Stranger(context.ledger, context.server, "run"), ["churn"]) == 0
    assert (len(_all(context, AuditEntry)), len(_all(context, OutboxEntry))) == before
    assert {row.outcome for row in _all(context, Wakeup)} == {"ignored"}


def test_a_run_woken_for_a_use_case_that_is_not_there_ends_well(tmp_path, monkeypatch, churn):
    """It says so, the event has its row, and no folder outside is read, whatever the name is."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "usecase.yaml").write_text("name: evil")
    (tmp_path / "usecases").mkdir()
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_USECASES", str(tmp_path / "usecases"))
    settings.cache_clear()
    server = Listing()
    monkeypatch.setattr(Server, "of", lambda _: server)
    names = ["nobody", "../evil", str(evil), "a\0b", "", ".", "x" * 5000, "\ud800"]
    for number, name in enumerate(names):
        event = ReceivedEvent(f"e{number}", events.BENTO_BUILT, f"ml.usecase.{name}", datetime.now(UTC), {})
        server.kept.append(event)
        ended = asyncio.run(_logged(deploy.deploy.fn(usecase=name, event_id=event.id)))
        assert (ended.name, "no use case" in ended.message) == ("Completed", True)
        with pytest.raises(UseCaseError, match="no such use case"):
            _run(deploy.deploy, usecase=name)
    with Ledger.open(settings().ledger).read() as view:
        assert {row.event_id for row in view.all(Wakeup)} == {f"e{number}" for number in range(len(names))}
    settings.cache_clear()


async def _logged(running: Any) -> Any:
    with disable_run_logger():
        return await running


def test_a_model_agreed_to_is_promoted_although_a_newer_one_waits(context):
    """Its event was lost: `maintain` finds it, and so does whoever is woken."""
    now = datetime.now(UTC)
    with context.ledger.transaction() as tx:
        registry.register(tx, _model(3, now), now)
        for version, state in ((2, "granted"), (3, "pending")):
            at = now + timedelta(seconds=version)
            tx.add(Evaluation(f"e{version}", "churn", version, 1, 1, "promote", "Better.", {}, at))
            tx.add(
                Approval(
                    f"a{version}",
                    "churn",
                    version,
                    f"d{version}",
                    f"e{version}",
                    1,
                    state,
                    "run",
                    "ann" if state == "granted" else "",
                    "",
                    at,
                    at + timedelta(days=1),
                    None,
                )
            )
    with context.ledger.read() as view:
        found = [event for event, _ in _pending._unfinished_release(view, context, _event(context), 1)]
    assert (found[0].name, found[0].payload["model_version"]) == (events.APPROVAL_GRANTED, 2)
    assert _run(promote.promote, usecase="churn", event_id="any") == 2
    assert _run(promote.promote, usecase="churn", event_id="any") is None
    assert {item.id: item.state for item in _all(context, Approval)} == {"a2": "granted", "a3": "superseded"}


def _event(context: Context):
    return lambda kind, key, **payload: Event(kind, context.name, key, context.now(), payload)
