"""The few calls to the Prefect server's API that flows and commands need, without importing prefect."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from flows.settings import Settings
from mlcore.errors import ApprovalError, RefusedError, ServerError

_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.3
_PAGE = 50  # the server's own limit
_UNACCEPTABLE = frozenset({400, 413, 422})  # what was sent is wrong; asking again changes nothing
_UNKNOWN = 404
_NOT_ALLOWED = frozenset({401, 403})
_ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_CANCELLED = frozenset({"CANCELLING", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as the server keeps it."""

    id: str
    name: str
    resource_id: str
    occurred: datetime
    payload: dict[str, Any]


class Server:
    """A Prefect server, reached over HTTP.

    Parameters
    ----------
    api_url : str
        Address ending in ``/api``.
    auth : str, default=""
        ``user:password`` where the server asks for it.

    Raises
    ------
    ServerError
        By every method, where the server cannot be reached, refuses, or stays busy over four attempts.
    """

    def __init__(self, api_url: str, auth: str = "", *, attempts: int = _ATTEMPTS) -> None:
        user, _, password = auth.partition(":")
        self.api_url = api_url
        self._attempts = attempts
        self._client = httpx.Client(
            base_url=api_url,
            timeout=30.0,
            auth=(user, password) if auth else None,
            verify=api_url.startswith("https"),  # reading the certificates takes a twentieth of a second
        )

    @classmethod
    def of(cls, settings: Settings) -> Server:
        """Return the server that `settings` name."""
        return cls(settings.api_url, settings.api_auth)

    def post_events(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Deliver events; returns only when the server has accepted all of them."""
        self._call("POST", "/events", json=list(bodies))

    def find_events(self, names: Sequence[str], *, since: datetime, until: datetime) -> Iterator[ReceivedEvent]:
        """Yield the events called one of `names`, oldest first; the newest seconds may be missing yet."""
        body = {
            "limit": _PAGE,
            "filter": {
                "event": {"name": list(names)},
                "occurred": {"since": since.isoformat(), "until": (until + timedelta(seconds=1)).isoformat()},
                "order": "ASC",
            },
        }
        page = self._call("POST", "/events/filter", json=body)
        while True:
            yield from map(_received, page["events"])
            if not page.get("next_page"):
                return
            # the server makes absolute addresses of its own name; only the query is ours to follow
            page = self._call("GET", "/events/filter/next", params=dict(httpx.URL(page["next_page"]).params))

    def find_event(self, event_id: str) -> ReceivedEvent | None:
        """Return one event, None where the server does not list it yet."""
        page = self._call("POST", "/events/filter", json={"limit": 1, "filter": {"id": {"id": [event_id]}}})
        return next(map(_received, page["events"]), None)

    def find_flow_runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Return up to 200 flow runs, newest first; `filters` is the body of ``/flow_runs/filter``."""
        return list(self._call("POST", "/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 200, **filters}))

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """Return one flow run."""
        return dict(self._call("GET", f"/flow_runs/{run_id}"))

    def has_ended(self, run_id: str) -> bool:
        """Return whether a flow run is over, however it ended."""
        return (self.flow_run(run_id)["state"] or {}).get("type") in _ENDED

    def was_cancelled(self, run_id: str) -> bool:
        """Return whether somebody cancelled a flow run, and so wants no other to take its place."""
        return (self.flow_run(run_id)["state"] or {}).get("type") in _CANCELLED

    def run_deployment(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Create a run of deployment `name` (``flow/deployment``) and return it."""
        deployment = self._call("GET", f"/deployments/name/{name}")
        return dict(
            self._call("POST", f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters})
        )

    def resume(self, run_id: str, run_input: dict[str, Any]) -> None:
        """Resume a suspended run with its form filled in, by the call that the UI makes.

        Raises
        ------
        ApprovalError
            If the run is not suspended or the form is refused; nothing changed.
        """
        answer = self._call("POST", f"/flow_runs/{run_id}/resume", json={"run_input": run_input})
        # a refusal is answered with HTTP 200 as well: only the status tells
        if answer["status"] != "ACCEPT":
            raise ApprovalError(
                "the answer was refused",
                subject=f"flow run {run_id}",
                expected="a suspended run, and an answer that fits its form",
                got=str((answer.get("details") or {}).get("reason", answer["status"])),
                remedy="Look at the run in the UI: it may have been answered or have expired.",
            )

    def end_run(self, run_id: str, kind: str, message: str) -> None:
        """Say how a run ended whose process can't say so any more; ``kind`` is a state such as CRASHED."""
        state = {"type": kind, "name": kind.capitalize(), "message": message}
        self._call("POST", f"/flow_runs/{run_id}/set_state", json={"state": state})

    def variable(self, name: str) -> str:
        """Return a variable that the server keeps; empty where there is none."""
        found = self._call("GET", f"/variables/name/{name}", accept=(404,))
        return str(found.get("value", ""))

    def put_variable(self, name: str, value: str) -> None:
        """Keep a variable on the server."""
        self._call("DELETE", f"/variables/name/{name}", accept=(404,))
        self._call("POST", "/variables/", json={"name": name, "value": value})

    def deployments(self) -> list[dict[str, Any]]:
        """Return all deployments."""
        return list(self._call("POST", "/deployments/filter", json={"limit": 200}))

    def workers(self, pool: str) -> list[str]:
        """Return the names of the workers that poll `pool` now."""
        found = self._call("POST", f"/work_pools/{pool}/workers/filter", accept=(404,), json={})
        return [item["name"] for item in found if item["status"] == "ONLINE"] if isinstance(found, list) else []

    def sentence_of(self, run_id: str) -> str:
        """Return the sentence that a run left as its artifact; empty where it left none."""
        body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}, "limit": 1, "sort": "CREATED_DESC"}
        found = self._call("POST", "/artifacts/filter", json=body)
        return found[0]["data"].splitlines()[0].strip("*") if found else ""

    def ensure_work_pool(self, name: str, kind: str) -> None:
        """Create work pool `name` where it is missing."""
        self._call("POST", "/work_pools/", accept=(409,), json={"name": name, "type": kind})

    def find_block(self, kind: str, name: str) -> str | None:
        """Return the id of a block, None where there is none."""
        block = self._call("GET", f"/block_types/slug/{kind}/block_documents/name/{name}", accept=(404,))
        return block.get("id")

    def automations(self) -> list[dict[str, Any]]:
        """Return all automations."""
        return list(self._call("POST", "/automations/filter", json={"limit": 200}))

    def put_automation(self, automation: dict[str, Any], automation_id: str | None) -> None:
        """Create `automation`, or replace the one called `automation_id`."""
        if automation_id:
            self._call("PUT", f"/automations/{automation_id}", json=automation)
        else:
            self._call("POST", "/automations/", json=automation)

    def delete_automation(self, automation_id: str) -> None:
        """Delete one automation."""
        self._call("DELETE", f"/automations/{automation_id}", accept=(404,))

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self._client.get("/health", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    def _call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **arguments: Any) -> Any:
        pause, kind = _FIRST_PAUSE_SECONDS, ServerError
        remedy = "Is it running? `make up` starts one; PREFECT_API_URL says where to look."
        for attempt in range(1, self._attempts + 1):
            try:
                response = self._client.request(method, path, **arguments)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success or response.status_code in accept:
                    return response.json() if response.content else None
                problem = f"HTTP {response.status_code}: {response.text[:200]}"
                # busy servers answer 503 (SQLite is locked) or 429; anything else will not change by asking again
                if response.status_code not in (429, 500, 502, 503, 504):
                    if response.status_code in _UNACCEPTABLE:
                        kind, remedy = RefusedError, "What was sent does not fit this server."
                    elif response.status_code == _UNKNOWN:
                        remedy = (
                            "The server does not know it. Was its database made anew? `make up` applies prefect.yaml."
                        )
                    elif response.status_code in _NOT_ALLOWED:
                        remedy = "Set PREFECT_API_AUTH_STRING to the server's user:password."
                    break
            if attempt < self._attempts:
                time.sleep(pause)
                pause *= 2
        raise kind(
            "the Prefect server did not do as asked",
            subject=f"{method} {self.api_url}{path}",
            expected="an answer",
            got=problem,
            remedy=remedy,
        )


def _received(event: dict[str, Any]) -> ReceivedEvent:
    return ReceivedEvent(
        id=event["id"],
        name=event["event"],
        resource_id=event["resource"].get("prefect.resource.id", ""),
        occurred=datetime.fromisoformat(event["occurred"]),
        payload=event.get("payload") or {},
    )
