"""The way of a request: to the process that serves its use case, again where that one died, never lost in a switch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from bentos.child import Child
from bentos.trial import Trial

log = logging.getLogger("bentos.gateway")
_WAIT_FOR_CHILD_SECONDS: Final = 20.0
_ATTEMPTS: Final = 3
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
_HOP_HEADERS: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"})


@dataclass
class Service:
    """A use case's running process, None and not `ready` while it is being started, and a candidate on trial."""

    child: Child | None = None
    trial: Trial | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def serve_with(self, child: Child) -> Child | None:
        """Let `child` take the traffic from now on; return the one that had it."""
        before, self.child = self.child, child
        self.ready.set()
        return before


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    def to_response(self) -> web.Response:
        return web.Response(status=self.status, body=self.body, headers=self.headers)


class Gateway:
    """Passes requests on.

    Parameters
    ----------
    services : dict of str to Service
        By use case; the host changes them.
    session : aiohttp.ClientSession
    """

    def __init__(self, services: dict[str, Service], session: aiohttp.ClientSession) -> None:
        self._services = services
        self._session = session
        self._copies: set[asyncio.Task[None]] = set()

    async def forward(self, request: web.Request) -> web.Response:
        """Answer ``/<use case>/<path>`` with what the use case's service answers to ``/<path>``."""
        usecase = request.match_info["usecase"]
        if usecase not in self._services:
            return web.json_response({"error": f"no model of {usecase!r} is served here"}, status=404)
        body = await request.read()
        # a service that is stopped meanwhile is gone
        for _ in range(_ATTEMPTS):
            service = self._services.get(usecase)
            child = await _ready_child(service) if service is not None else None
            if service is None or child is None:
                break
            try:
                return (await self._answer(service, child, request, body)).to_response()
            except aiohttp.ClientConnectionError as error:
                # the process died under the request; scoring a row twice does no harm, losing it does
                log.warning("%s: %s", usecase, error)
                await asyncio.sleep(0.2)
            except TimeoutError:
                return web.json_response({"error": f"{usecase} did not answer in {_TIMEOUT.total:.0f} s"}, status=504)
        return web.json_response(
            {"error": f"{usecase} is not ready, try again"}, status=503, headers={"Retry-After": "2"}
        )

    async def _answer(self, service: Service, child: Child, request: web.Request, body: bytes) -> _Answer:
        trial = service.trial
        if trial is None or request.match_info["path"] != "predict" or not trial.takes_next():
            return await self._ask(child, request, body)
        if trial.is_shadow:
            answer = await self._ask(child, request, body)
            self._spawn(self._copy(trial, request, body, answer))
            return answer
        tried = await self._try(trial, request, body)
        # what the candidate cannot answer, the version that is trusted does
        return tried or await self._ask(child, request, body)

    async def _try(self, trial: Trial, request: web.Request, body: bytes, **headers: str) -> _Answer | None:
        """Return the candidate's answer, None where it is no good."""
        try:
            answer = await self._ask(trial.child, request, body, **headers)
        except (aiohttp.ClientConnectionError, TimeoutError):
            trial.answered(0)
            return None
        return answer if trial.answered(answer.status) else None

    async def _copy(self, trial: Trial, request: web.Request, body: bytes, answer: _Answer) -> None:
        copied = await self._try(trial, request, body, **{"X-Capture": "off"})
        if copied is not None and answer.status == copied.status == 200:
            trial.compare(answer.body, copied.body)

    async def _ask(self, child: Child, request: web.Request, body: bytes, **more: str) -> _Answer:
        url = f"{child.url}/{request.match_info['path']}"
        headers = {**_passed_on(request.headers), **more}
        child.in_flight += 1
        try:
            async with self._session.request(
                request.method, url, params=request.query, data=body, headers=headers, timeout=_TIMEOUT
            ) as answer:
                return _Answer(answer.status, await answer.read(), _passed_on(answer.headers))
        except aiohttp.ClientPayloadError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error
        finally:
            child.in_flight -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)


async def _ready_child(service: Service) -> Child | None:
    """Return the process to ask, waiting while it is started; None where that takes too long."""
    if not service.ready.is_set():
        try:
            await asyncio.wait_for(service.ready.wait(), _WAIT_FOR_CHILD_SECONDS)
        except TimeoutError:
            return None
    # nothing was awaited since it was found ready: whoever retires this process sees the request in flight
    return service.child


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_HEADERS}
