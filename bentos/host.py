"""The local service host: one gateway that owns the serving processes, so that an address outlives its models.

``python -m bentos.host --port 8700 --state-dir DIR`` answers ``/<use case>/predict`` and everything else a service has.
A new version is started beside the old one, proven on its golden rows, and only then takes the traffic; the old one
finishes what it was asked and is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from bentos.child import Child, ChildError
from bentos.golden import prove

log = logging.getLogger("bentos.host")
TOKEN_FILE: Final = "token"
STATE_FILE: Final = "services.json"
_MOST_BODY_BYTES: Final = 64 * 1024 * 1024
_DRAIN_SECONDS: Final = 30.0
_WAIT_FOR_CHILD_SECONDS: Final = 20.0
_HOP_HEADERS: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "upgrade"}
)


@dataclass(frozen=True)
class Placement:
    """Which Bento serves a use case."""

    usecase: str
    model_version: int
    bento_path: str


@dataclass
class Service:
    """A use case's running process; `ready` is unset while it is being restarted."""

    placement: Placement
    child: Child
    in_flight: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Host:
    """All services of this machine.

    Parameters
    ----------
    state_dir : Path
        Keeps which Bento serves which use case, so that a restarted host serves the same again.
    """

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir = state_dir
        self.token = _token(state_dir / TOKEN_FILE)
        self._services: dict[str, Service] = {}
        self._switching: dict[str, asyncio.Lock] = {}
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return the web application: the admin routes under ``/-/``, everything else is passed on."""
        application = web.Application(client_max_size=_MOST_BODY_BYTES)
        application.router.add_get("/-/status", self._status)
        application.router.add_post("/-/deploy", self._deploy)
        application.router.add_route("*", "/{usecase}/{path:.*}", self._forward)
        application.on_startup.append(self._start)
        application.on_cleanup.append(self._stop)
        return application

    async def _start(self, _: web.Application) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )
        for placement in self._remembered():
            self._spawn(self._restore(placement))

    async def _stop(self, _: web.Application) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(service.child.stop() for service in self._services.values()))
        if self._session is not None:
            await self._session.close()

    async def _restore(self, placement: Placement) -> None:
        async with self._lock(placement.usecase):
            try:
                await self._switch(placement, prove_golden=False)
            except ChildError as error:
                log.error("%s version %s does not come up again: %s", placement.usecase, placement.model_version, error)

    async def _status(self, request: web.Request) -> web.Response:
        self._require_token(request)
        return web.json_response(
            {
                name: {**asdict(service.placement), "ready": service.ready.is_set(), "port": service.child.port}
                for name, service in self._services.items()
            }
        )

    async def _deploy(self, request: web.Request) -> web.Response:
        self._require_token(request)
        placement = Placement(**await request.json())
        async with self._lock(placement.usecase):
            try:
                proven = await self._switch(placement, prove_golden=True)
            except ChildError as error:
                return web.json_response({"error": str(error)}, status=409)
        self._remember()
        return web.json_response({"model_version": placement.model_version, "golden_rows": proven})

    async def _switch(self, placement: Placement, *, prove_golden: bool) -> int:
        """Bring `placement` up and let it take the traffic; what served before is drained and stopped."""
        assert self._session is not None
        child = await Child.start(
            placement.bento_path, self.state_dir / "logs" / f"{placement.usecase}.log", self._session
        )
        proven = 0
        try:
            if prove_golden:
                proven = await prove(self._session, child.url, Path(placement.bento_path))
        except ChildError:
            await child.stop()
            raise
        old = self._services.get(placement.usecase)
        service = Service(placement, child)
        service.ready.set()
        self._services[placement.usecase] = service
        self._spawn(self._watch(service))
        if old is not None:
            self._spawn(self._retire(old))
        return proven

    async def _retire(self, service: Service) -> None:
        until = asyncio.get_running_loop().time() + _DRAIN_SECONDS
        while service.in_flight and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
        await service.child.stop()

    async def _watch(self, service: Service) -> None:
        """Start a service's process again when it ends by itself."""
        assert self._session is not None
        while True:
            await service.child.ended()
            if self._services.get(service.placement.usecase) is not service:
                return
            service.ready.clear()
            log.warning("%s ended by itself and is started again", service.placement.usecase)
            try:
                service.child = await Child.start(service.placement.bento_path, service.child.log, self._session)
            except ChildError as error:
                log.error("%s does not come up again: %s", service.placement.usecase, error)
                await asyncio.sleep(2)
                continue
            service.ready.set()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        usecase = request.match_info["usecase"]
        service = self._services.get(usecase)
        if service is None:
            return web.json_response({"error": f"no model of {usecase!r} is served here"}, status=404)
        assert self._session is not None
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        for attempt in (1, 2):
            # taken anew: a switch or a restart may have come between
            service = self._services[usecase]
            try:
                await asyncio.wait_for(service.ready.wait(), _WAIT_FOR_CHILD_SECONDS)
            except TimeoutError:
                break
            service.in_flight += 1
            try:
                url = f"{service.child.url}/{request.match_info['path']}"
                async with self._session.request(
                    request.method, url, params=request.query, data=body, headers=headers
                ) as answer:
                    content = await answer.read()
                    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS}
                    return web.Response(status=answer.status, body=content, headers=kept)
            except aiohttp.ClientError as error:
                # the process died under the request; scoring a row twice does no harm, losing it does
                log.warning("%s: %s", usecase, error)
                if attempt == 1:
                    await asyncio.sleep(0.2)
            finally:
                service.in_flight -= 1
        return web.json_response(
            {"error": f"{usecase} is not ready, try again"}, status=503, headers={"Retry-After": "2"}
        )

    def _remember(self) -> None:
        path = self.state_dir / STATE_FILE
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps([asdict(service.placement) for service in self._services.values()]))
        unfinished.replace(path)

    def _remembered(self) -> list[Placement]:
        path = self.state_dir / STATE_FILE
        return [Placement(**item) for item in json.loads(path.read_text())] if path.is_file() else []

    def _require_token(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given, self.token):
            raise web.HTTPForbidden(text="the host's token is needed: it is in its state folder")

    def _lock(self, usecase: str) -> asyncio.Lock:
        return self._switching.setdefault(usecase, asyncio.Lock())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _token(path: Path) -> str:
    if not path.is_file():
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--state-dir", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    web.run_app(
        Host(arguments.state_dir).application(), host="127.0.0.1", port=arguments.port, print=None, access_log=None
    )


if __name__ == "__main__":
    main()
