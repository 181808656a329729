"""Keep the loop going by itself: collect rows, close windows, forget, deliver what waits, wake what was left."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from flows import _approval, _causes, _orphans, _pending, _strays
from flows._context import Context, open_context, stage
from flows.deploy import end_lost
from flows.settings import settings
from mlcore import events
from mlcore.canonical import digest_value
from mlcore.errors import ServerError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import Bookmark, Window
from mlcore.usecase import list_usecases

if TYPE_CHECKING:
    from mlcore.capture.store import CaptureStore
    from mlcore.capture.windows import DueWindow

_FORGET_EVERY: Final = timedelta(days=1)


@stage("maintain", flow_run_name="maintain")
async def maintain(
    usecase: str = "",
    flush: bool = False,
    at_once: bool = False,
    event_id: str = "",  # noqa: ARG001 (`stage` reads it)
) -> list[str]:
    """Do the housekeeping of one use case, or of all.

    Args:
        usecase: Name of the use case; all of them if left out.
        flush: Close windows that have begun although they are not over.
        at_once: Wake what was left without waiting whether somebody does it yet; set by automations.
        event_id: The event that woke this; left out when a person starts it.
    """
    known, sentences = list_usecases(settings().usecases), []
    if not usecase:
        with contextlib.suppress(ServerError):
            await asyncio.to_thread(_strays.account, _strays.Stranger.at(settings()), known)
    for name in [usecase] if usecase else known:
        context = open_context(name)
        sentences += [f"{name}: {sentence}" for sentence in await asyncio.to_thread(_maintain, context, flush, at_once)]
    if sentences:
        await context.tell(sentences[0], "\n".join(f"- {sentence}" for sentence in sentences))
    return sentences


def _maintain(context: Context, flush: bool, at_once: bool) -> list[str]:
    done = _collect(context, flush)
    done += _forget(context)
    done += _see_to_approvals(context)
    done += end_lost(context)
    with contextlib.suppress(ServerError):  # a server that is away is why the outbox is there; tried again next time
        done += [f"{item.action}: {item.sentence}" for item in _causes.claim_all(context, None)]
    done += _pending.wake(context, at_once=at_once)
    context.announce()
    return done + _orphans.collect(context)


def _collect(context: Context, flush: bool) -> list[str]:
    from mlcore.capture.collect import collect

    store = context.captures
    report = collect(context.settings.spool / context.name, store)
    closed = _close_windows(context, store, flush)
    if not report.segments and not closed:
        return []
    return [
        f"collected {report.predictions:,} scored rows and {report.labels:,} labels",
        *(f"closed {item.id}: {item.rows:,} rows, {item.labelled:,} labelled" for item in closed),
    ]


def _close_windows(context: Context, store: CaptureStore, flush: bool) -> list[Window]:
    """Close every window that is due, whoever collected its rows; what was looked at before is not read again."""
    from mlcore.capture.windows import due_windows

    rules = context.usecase.monitoring.windows
    found = digest_value([store.state(), [rule.model_dump(mode="json") for rule in rules]])
    seen = f"windows:{context.name}"
    with context.ledger.read() as view:
        bookmark = view.get(Bookmark, name=seen)
        taken = {(window.cadence, window.starts_at) for window in view.all(Window, usecase=context.name)}
    if bookmark is not None and bookmark.found == found and not flush:
        return []
    due = [_window(context, item) for item in due_windows(store.summary(), rules, taken, flush=flush)]
    with context.ledger.transaction() as tx:
        closed = [window for window in due if tx.add_once(window)]
        failpoint("window.after-close")
        for window in closed:
            tx.announce(
                Event(
                    events.WINDOW_CLOSED,
                    context.name,
                    key=window.id,
                    occurred=context.now(),
                    payload={"window_id": window.id},
                )
            )
        tx.put(Bookmark(seen, context.now(), found))
    return closed


def _window(context: Context, due: DueWindow) -> Window:
    return Window(
        id=due.id(context.name),
        usecase=context.name,
        cadence=due.cadence,
        starts_at=due.starts_at,
        ends_at=due.ends_at,
        rows=due.rows,
        labelled=due.labelled,
        state="closed",
        closed_at=context.now(),
    )


def _forget(context: Context) -> list[str]:
    """Remove captured rows that are older than the policy keeps them, once a day."""
    retention, now = context.usecase.serving.retention, context.now()
    if retention is None:
        return []
    done = f"retention:{context.name}"
    with context.ledger.read() as view:
        last = view.get(Bookmark, name=done)
    if last is not None and last.found == str(retention) and abs(now - last.at) < _FORGET_EVERY:
        return []
    cutoff = now - retention
    rows = context.captures.forget_before(cutoff)
    with context.ledger.transaction() as tx:
        if rows:
            tx.audit(
                usecase=context.name,
                actor="policy",
                action="capture.forgotten",
                subject=f"{context.name}/captures",
                at=now,
                rows=rows,
                before=cutoff.isoformat(),
            )
        tx.put(Bookmark(done, now, str(retention)))
    return [f"forgot {rows:,} rows received before {cutoff:%Y-%m-%d %H:%M} UTC"] if rows else []


def _see_to_approvals(context: Context) -> list[str]:
    with context.ledger.transaction() as tx:
        closed = _approval.close_all_over(tx, context.name, context.now())
        reminded = _approval.remind(tx, context.usecase, context.now())
    return [
        *(f"approval of version {item.model_version} {item.state}: {item.reason}" for item in closed),
        *(f"reminded of the approval of version {item.model_version}" for item in reminded),
    ]
