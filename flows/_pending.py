"""What should have gone on and has not: found in the ledger, woken again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from flows import _approval, _causes, _inbox, _lease
from flows.deploy import served_version, was_refused
from flows.promote import due
from mlcore import events, registry
from mlcore.decision import DRIFT
from mlcore.errors import ServerError
from mlcore.events import Event
from mlcore.ledger import leases
from mlcore.ledger.records import (
    Approval,
    BentoRecord,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Lease,
    OutboxEntry,
    Retraining,
    Revalidation,
    Window,
)

if TYPE_CHECKING:
    from flows._context import Context
    from mlcore.ledger.store import View

#: A stage that has not followed after so long was lost: its run died, or an event was swallowed by a debounce.
PATIENCE: Final = timedelta(seconds=45)
_LOOKED_AT: Final = 100  # the newest diagnoses and dataset versions
#: Which flow each event wakes.
_WAKES: Final = {
    events.DATASET_ANNOUNCED: "publish-dataset",
    events.WINDOW_CLOSED: "monitor",
    events.DRIFT_DETECTED: "retrain",
    events.DATASET_PUBLISHED: "retrain",
    events.RETRAINING_REQUESTED: "retrain",
    events.APPROVAL_REQUESTED: "approve",
    events.APPROVAL_SUPERSEDED: "validate",
    events.MODEL_VALIDATED: "promote",
    events.APPROVAL_GRANTED: "promote",
    events.MODEL_PROMOTED: "package",
    events.BENTO_BUILT: "deploy",
}


def wake(context: Context, *, at_once: bool = False) -> list[str]:
    """Announce again what nobody has acted on; return what was found.

    Parameters
    ----------
    context : Context
    at_once : bool, default=False
        Take whatever was announced before to be lost, as after a restart: only a flow that is at work is left alone.
    """
    now = context.now()
    patience = timedelta(0) if at_once else PATIENCE
    busy = _at_work(context) if at_once else frozenset()
    with context.ledger.read() as view:
        asked = view.all(Approval, usecase=context.name, state="pending")
    _lease.give_up_if_dead(context, _causes.lease_name(context))
    unasked = _approval.unasked(context, asked)  # the server is not called inside a transaction
    unread = _unread(context)
    served = served_version(context)
    with context.ledger.transaction() as tx:
        found = [
            event
            for event, since in (*_pending(tx, context, unasked, served), *unread)
            if abs(now - since) > patience and _is_quiet(tx, event, now, patience) and _WAKES[event.name] not in busy
        ]
        for event in found:
            tx.announce(_anew(tx, event))
    return [f"{event.name} was left and is announced again" for event in found]


def _pending(
    view: View, context: Context, unasked: list[Approval], served: int | None
) -> Iterator[tuple[Event, datetime]]:
    """Yield events that would wake what is left, with the time since when it is."""
    name, now = context.name, context.now()

    def event(kind: str, key: str, **payload: str | int) -> Event:
        return Event(kind, name, key=key, occurred=now, payload=payload)

    for window in view.all(Window, usecase=name, state="closed"):
        yield event(events.WINDOW_CLOSED, window.id, window_id=window.id), window.closed_at
    yield from _undecided(view, context, event)
    if not leases.is_held(view.get(Lease, name=_causes.lease_name(context)), now):
        for state in ("requested", "running"):
            for left in view.all(Retraining, usecase=name, state=state):
                yield _again(left, now), left.requested_at
    for approval in unasked:
        yield event(events.APPROVAL_REQUESTED, approval.id, approval_id=approval.id), approval.requested_at
    for revalidation in view.all(Revalidation, usecase=name, state="requested"):
        yield _approval.again(revalidation, now), revalidation.requested_at
    yield from _unfinished_release(view, context, event, served)


def _undecided(view: View, context: Context, event: Callable[..., Event]) -> Iterator[tuple[Event, datetime]]:
    """Yield an event for each cause of this week that nobody has decided about: the one that it had was lost."""
    name, week_ago = context.name, context.now() - _causes.STALE

    def is_decided(key: str) -> bool:
        return view.first(DecisionRecord, usecase=name, cause_key=key) is not None

    newest: dict[str, DiagnosisRecord] = {}
    for found in view.all(DiagnosisRecord, order_by="-created_at", limit=_LOOKED_AT, usecase=name):
        newest.setdefault(found.window_id, found)
    for found in newest.values():
        if found.created_at > week_ago and found.cause in DRIFT and not is_decided(f"window:{found.window_id}"):
            yield event(events.DRIFT_DETECTED, found.window_id, window_id=found.window_id), found.created_at
    for dataset in view.all(DatasetVersion, order_by="-version", limit=_LOOKED_AT, usecase=name):
        is_cause = dataset.origin != "collected" and dataset.published_at > week_ago
        if is_cause and not is_decided(f"dataset:{dataset.version}"):
            lost = event(events.DATASET_PUBLISHED, dataset.digest, dataset_version=dataset.version)
            yield replace(lost, labels={"ml.dataset.origin": "announced"}), dataset.published_at


def _unread(context: Context) -> list[tuple[Event, datetime]]:
    """Return an event for each announcement whose run died before it left a row: nothing of it is in the ledger."""
    now = context.now()
    try:
        left = _inbox.unread(context, [events.DATASET_ANNOUNCED])
    except ServerError:
        return []
    return [
        (
            Event(
                events.DATASET_ANNOUNCED,
                context.name,
                key=announced.id,
                occurred=now,
                payload={"uri": _inbox.text(announced.payload.get("uri", ""), 4000)},
            ),
            announced.occurred,
        )
        for announced in left[:1]  # the run that is woken reads them all
    ]


def _again(left: Retraining, now: datetime) -> Event:
    return Event(
        events.RETRAINING_REQUESTED,
        left.usecase,
        key=left.decision_id,
        occurred=now,
        payload={"decision_id": left.decision_id},
        labels={"ml.retraining.resume": "true"},
    )


def _unfinished_release(
    view: View, context: Context, event: Callable[..., Event], served: int | None
) -> Iterator[tuple[Event, datetime]]:
    name = context.name
    champion = registry.alias(view, name, "champion")
    evaluation = due(view, context)
    if evaluation is not None:
        approval = view.first(Approval, usecase=name, evaluation_id=evaluation.id, state="granted")
        again = event(
            events.APPROVAL_GRANTED if approval else events.MODEL_VALIDATED,
            evaluation.id,
            model_version=evaluation.model_version,
            evaluation_id=evaluation.id,
            approval_id=approval.id if approval else "",
        )
        labels = {"ml.verdict": "promote", "ml.approval": "not-needed"}
        yield Event(again.name, name, again.key, again.occurred, again.payload, labels), evaluation.created_at
    if champion is None:
        return
    serving = view.first(Deployment, order_by="-changed_at", usecase=name, state="serving")
    # a host that has lost its state is told again, whatever the ledger says that it serves
    if serving is not None and serving.model_version == champion.version and served in (champion.version, None):
        return
    if was_refused(view, champion):
        return  # a person must look
    if view.first(Deployment, usecase=name, model_version=champion.version, state="starting") is not None:
        return
    bento = view.get(BentoRecord, usecase=name, model_version=champion.version)
    if bento is None:
        yield (
            event(events.MODEL_PROMOTED, str(champion.generation), model_version=champion.version),
            champion.changed_at,
        )
    elif served is not None:  # a host that is away is waited for
        yield (
            event(events.BENTO_BUILT, bento.tag, model_version=champion.version, bento_tag=bento.tag),
            max(champion.changed_at, bento.created_at),
        )


def _at_work(context: Context) -> frozenset[str]:
    """Return which of the flows that can be woken run for this use case now."""
    names = [f"{flow}-{context.name}" for flow in {*_WAKES.values()}]
    try:
        runs = context.server.find_flow_runs(
            flow_runs={"name": {"any_": names}, "state": {"type": {"any_": ["RUNNING"]}}}
        )
    except ServerError:
        return frozenset()
    return frozenset(run["name"].removesuffix(f"-{context.name}") for run in runs)


def _is_quiet(view: View, event: Event, now: datetime, patience: timedelta) -> bool:
    """Whether no event of this kind was announced recently, so that whoever it woke has had time.

    The last is the one written last: by its time, one from before the clock was set back would be last for long.
    """
    last = _last(view, event)
    return last is None or abs(now - last.created_at) > patience


def _anew(view: View, event: Event) -> Event:
    """Return `event` with an id of its own: the server would take the one it has had for a double."""
    last = _last(view, event)
    return replace(event, key=f"{event.key}#{last.sequence if last else 0}")


def _last(view: View, event: Event) -> OutboxEntry | None:
    return view.first(OutboxEntry, order_by="-sequence", usecase=event.usecase, event=event.name)
