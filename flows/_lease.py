"""Holding a lease while something long runs: renewed in the background, lost within two heartbeats of a death."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from prefect import get_run_logger

from mlcore.errors import LeaseLostError, LedgerError
from mlcore.failpoints import failpoint
from mlcore.ledger import leases

if TYPE_CHECKING:
    from flows._context import Context
    from mlcore.ledger.records import Lease

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


async def _beat(context: Context, lease: Lease) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await asyncio.to_thread(leases.renew, context.ledger, lease, context.now(), LEASE_SECONDS)
        except LeaseLostError:
            return  # the write at the end finds out, and changes nothing
        except LedgerError as error:
            get_run_logger().warning("the lease could not be renewed, trying again: %s", error)
