"""Holding a lease while something long runs: renewed in the background, lost within two heartbeats of a death."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from prefect import get_run_logger

from mlcore.errors import LeaseLostError, LedgerError, ServerError
from mlcore.failpoints import failpoint
from mlcore.ledger import leases
from mlcore.ledger.records import Lease

if TYPE_CHECKING:
    from flows._context import Context

HEARTBEAT_SECONDS: Final = 10.0
LEASE_SECONDS: Final = 2 * HEARTBEAT_SECONDS


@asynccontextmanager
async def held(context: Context, name: str) -> AsyncIterator[Lease]:
    """Hold lease `name` for the block.

    Raises
    ------
    LeaseHeldError
        If another live run holds it.
    """
    failpoint("lease.before-acquire")
    lease = leases.acquire(context.ledger, name, context.actor, context.now(), LEASE_SECONDS)
    beating = asyncio.create_task(_beat(context, lease))
    try:
        yield lease
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        failpoint("lease.before-release")
        leases.release(context.ledger, lease)


def give_up_if_dead(context: Context, name: str) -> None:
    """Give up lease `name` if the server says that the run which holds it has ended: nobody waits for its time."""
    with context.ledger.read() as view:
        lease = view.get(Lease, name=name)
    if lease is None or lease.holder == context.actor or not leases.is_held(lease, context.now()):
        return
    try:
        ended = context.server.has_ended(lease.holder.removeprefix("flow-run:"))
    except ServerError:
        return  # it runs out by itself
    if ended:
        leases.release(context.ledger, lease)


async def _beat(context: Context, lease: Lease) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await asyncio.to_thread(leases.renew, context.ledger, lease, context.now(), LEASE_SECONDS)
        except LeaseLostError:
            return  # the write at the end finds out, and changes nothing
        except LedgerError as error:
            get_run_logger().warning("the lease could not be renewed, trying again: %s", error)
