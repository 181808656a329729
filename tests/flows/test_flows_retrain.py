"""What ends a retraining whose run did not end it."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from flows import retrain
from flows._context import Context
from flows._server import Server
from flows.settings import Settings
from mlcore.ledger.records import Retraining

AT = datetime(2026, 1, 1, tzinfo=UTC)
LEFT = Retraining("d", "churn", "drift", "window:w", "running", "run", None, None, AT, None, "", attempts=1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(200, json={"state": {"type": "CANCELLED"}}), "A person cancelled"),
        (httpx.Response(200, json={"state": {"type": "CANCELLING"}}), "A person cancelled"),
        (httpx.Response(200, json={"state": {"type": "CRASHED"}}), ""),
        (httpx.Response(200, json={"state": {"type": "FAILED"}}), ""),
        (httpx.Response(404, text="no such run"), ""),
        (httpx.Response(500, text="later"), ""),
    ],
)
def test_what_a_person_cancelled_is_not_begun_again(ledger, churn, tmp_path, answer, why):
    """What crashed is, and so is what the server does not know any more."""
    server = Server("http://127.0.0.1:9/api", attempts=1)
    server._client = httpx.Client(base_url=server.api_url, transport=httpx.MockTransport(lambda _: answer))
    found = retrain._why_not_again(Context(Settings(home=tmp_path), churn, ledger, server, "me"), LEFT)
    assert found.startswith(why)
    assert bool(found) == bool(why)
