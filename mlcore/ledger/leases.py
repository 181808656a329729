"""Leases: who may run something alone, given up by itself when the holder dies."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mlcore.errors import LeaseHeldError, LeaseLostError
from mlcore.ledger.records import Lease

#: No lease is given for longer: one that seems to last longer was given before the clock was set back.
LONGEST: Final = timedelta(minutes=5)

if TYPE_CHECKING:
    from mlcore.ledger.store import Ledger, Transaction


def acquire(ledger: Ledger, name: str, holder: str, now: datetime, seconds: float) -> Lease:
    """Take the lease, if it is free or has expired.

    Raises
    ------
    LeaseHeldError
        If another holder's lease is still good.
    """
    with ledger.transaction() as tx:
        return acquire_in(tx, name, holder, now, seconds)


def acquire_in(tx: Transaction, name: str, holder: str, now: datetime, seconds: float) -> Lease:
    """Take the lease inside a transaction, so that it comes with whatever else is claimed.

    Raises
    ------
    LeaseHeldError
        If another holder's lease is still good.
    """
    held = tx.get(Lease, name=name)
    if held is not None and held.holder != holder and is_held(held, now):
        raise LeaseHeldError(
            "another run is at it", subject=name, got=f"held by {held.holder} until {held.expires_at:%H:%M:%S} UTC"
        )
    expires_at = now + timedelta(seconds=seconds)
    if held is None:
        lease = Lease(name=name, holder=holder, token=1, acquired_at=now, expires_at=expires_at)
        tx.add(lease)
        return lease
    # the token tells this holding from every earlier one: a dead run that comes back has an old token
    return tx.change(held, holder=holder, token=held.token + 1, acquired_at=now, expires_at=expires_at)


def renew(ledger: Ledger, lease: Lease, now: datetime, seconds: float) -> Lease:
    """Extend the lease.

    Raises
    ------
    LeaseLostError
        If it has been taken by another meanwhile.
    """
    with ledger.transaction() as tx:
        current = _same(tx, lease)
        return tx.change(current, expires_at=now + timedelta(seconds=seconds))


def release(ledger: Ledger, lease: Lease) -> None:
    """Give the lease up; one that was lost meanwhile is left alone."""
    with ledger.transaction() as tx:
        current = tx.get(Lease, name=lease.name)
        if current is not None and current.token == lease.token:
            tx.change(current, holder="", expires_at=current.acquired_at)


def require(tx: Transaction, lease: Lease, now: datetime) -> Lease:
    """Make sure the lease is still held, in the transaction of the write it protects.

    Raises
    ------
    LeaseLostError
        If it has expired or been taken: a dead run's late write changes nothing.
    """
    current = _same(tx, lease)
    if now >= current.expires_at:
        raise _lost(lease, f"it expired at {current.expires_at:%H:%M:%S} UTC")
    return current


def is_held(lease: Lease | None, now: datetime) -> bool:
    """Whether somebody holds the lease now."""
    return lease is not None and bool(lease.holder) and now < lease.expires_at <= now + LONGEST


def _same(tx: Transaction, lease: Lease) -> Lease:
    current = tx.get(Lease, name=lease.name)
    # one that was given up keeps its token until somebody takes it, and has no holder
    if current is None or (current.token, current.holder) != (lease.token, lease.holder):
        raise _lost(lease, f"taken by {current.holder or 'nobody'}" if current else "gone")
    return current


def _lost(lease: Lease, got: str) -> LeaseLostError:
    return LeaseLostError(
        "this run lost its lease; its results are not kept",
        subject=lease.name,
        expected=f"held by {lease.holder}",
        got=got,
        remedy="Another run has taken over, nothing is lost.",
    )
