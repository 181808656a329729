"""Keep the loop going by itself: collect captured rows, close windows, deliver what waits, wake what was left."""

from __future__ import annotations

import asyncio
import contextlib

from flows import _approval, _causes, _pending
from flows._context import Context, open_context, stage
from flows.settings import settings
from mlcore import events
from mlcore.errors import ServerError
from mlcore.events import Event
from mlcore.ledger.records import Approval, Window
from mlcore.usecase import list_usecases


@stage("maintain", flow_run_name="maintain")
async def maintain(usecase: str = "", flush: bool = False) -> list[str]:
    """Do the housekeeping of one use case, or of all.

    Args:
        usecase: Name of the use case; all of them if left out.
        flush: Close windows that have begun although they are not over.
    """
    sentences = []
    for name in [usecase] if usecase else list_usecases(settings().usecases):
        context = open_context(name)
        sentences += [f"{name}: {sentence}" for sentence in await asyncio.to_thread(_maintain, context, flush)]
    if sentences:
        await context.tell(sentences[0], "\n".join(f"- {sentence}" for sentence in sentences))
    return sentences


def _maintain(context: Context, flush: bool) -> list[str]:
    done = _collect(context, flush)
    done += _expire_approvals(context)
    with contextlib.suppress(ServerError):  # a server that is away is why the outbox is there; tried again next time
        done += [f"{item.action}: {item.sentence}" for item in _causes.claim_all(context, None)]
    done += _pending.wake(context)
    context.announce()
    return done


def _collect(context: Context, flush: bool) -> list[str]:
    from mlcore.capture.collect import collect
    from mlcore.capture.store import CaptureStore
    from mlcore.capture.windows import due_windows

    store = CaptureStore(context.settings.lake_root, context.name, context.usecase.contract)
    report = collect(context.settings.spool / context.name, store)
    if not report.segments and not flush:
        return []
    with context.ledger.read() as view:
        closed = {(window.cadence, window.starts_at) for window in view.all(Window, usecase=context.name)}
    due = due_windows(store.summary(), context.usecase.monitoring.windows, closed, flush=flush)
    with context.ledger.transaction() as tx:
        for item in due:
            window = Window(
                id=item.id(context.name),
                usecase=context.name,
                cadence=item.cadence,
                starts_at=item.starts_at,
                ends_at=item.ends_at,
                rows=item.rows,
                labelled=item.labelled,
                state="closed",
                closed_at=context.now(),
            )
            if tx.add_once(window):
                tx.announce(
                    Event(
                        events.WINDOW_CLOSED,
                        context.name,
                        key=window.id,
                        occurred=context.now(),
                        payload={"window_id": window.id},
                    )
                )
    collected = f"collected {report.predictions:,} scored rows and {report.labels:,} labels"
    return [
        collected,
        *(f"closed {item.id(context.name)}: {item.rows:,} rows, {item.labelled:,} labelled" for item in due),
    ]


def _expire_approvals(context: Context) -> list[str]:
    with context.ledger.transaction() as tx:
        late = [
            approval
            for approval in tx.all(Approval, usecase=context.name, state="pending")
            if approval.expires_at <= context.now()
        ]
        for approval in late:
            _approval.expire(tx, approval, context.now())
    return [f"approval of version {approval.model_version} expired: that means no" for approval in late]
