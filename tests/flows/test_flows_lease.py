"""A lease whose holder has died is given up at once; one whose holder may live is not."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from flows import _lease
from flows._context import Context
from flows._server import Server
from flows.settings import Settings
from mlcore.errors import LeaseLostError
from mlcore.ledger import leases
from mlcore.ledger.records import Lease

NAME = "retrain:churn"


def _context(ledger, churn, tmp_path, answer: httpx.Response) -> Context:
    server = Server("http://127.0.0.1:9/api", attempts=1)
    server._client = httpx.Client(base_url=server.api_url, transport=httpx.MockTransport(lambda _: answer))
    return Context(Settings(home=tmp_path), churn, ledger, server, "me")


def _held_by(ledger, holder: str) -> Lease:
    return leases.acquire(ledger, NAME, holder, datetime.now(UTC), 60)


def _is_held(ledger) -> bool:
    with ledger.read() as view:
        return leases.is_held(view.get(Lease, name=NAME), datetime.now(UTC))


@pytest.mark.parametrize("state", ["CRASHED", "FAILED", "CANCELLED", "COMPLETED"])
def test_a_dead_run_holds_nothing(ledger, churn, tmp_path, state):
    """What it writes late is refused: another run may have taken over."""
    lease = _held_by(ledger, "flow-run:dead")
    _lease.give_up_if_dead(
        _context(ledger, churn, tmp_path, httpx.Response(200, json={"state": {"type": state}})), NAME
    )
    assert not _is_held(ledger)
    with pytest.raises(LeaseLostError):
        leases.renew(ledger, lease, datetime.now(UTC), 60)  # a heartbeat does not bring it back to life
    assert not _is_held(ledger)
    leases.acquire(ledger, NAME, "flow-run:me", datetime.now(UTC), 60)
    with pytest.raises(LeaseLostError), ledger.transaction() as tx:
        leases.require(tx, lease, datetime.now(UTC))


@pytest.mark.parametrize(
    ("holder", "answer"),
    [
        ("flow-run:living", httpx.Response(200, json={"state": {"type": "RUNNING"}})),
        ("flow-run:unborn", httpx.Response(200, json={"state": None})),
        ("flow-run:unknown", httpx.Response(404, text="no such run")),
        ("flow-run:unreachable", httpx.Response(500, text="later")),
        ("flow-run:me", httpx.Response(200, json={"state": {"type": "CRASHED"}})),
    ],
)
def test_who_may_live_keeps_it(ledger, churn, tmp_path, holder, answer):
    """Nobody knows better: it runs out by itself. One's own is never given up."""
    _held_by(ledger, holder)
    _lease.give_up_if_dead(_context(ledger, churn, tmp_path, answer), NAME)
    assert _is_held(ledger)
