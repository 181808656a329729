"""The local service host: one gateway that owns the serving processes, so that an address outlives its models.

``python -m bentos.host --port 8700 --state-dir DIR`` answers ``/<use case>/predict`` and everything else a service has.
A new version is started beside the old one, proven on its golden rows, tried on live requests where that is asked for,
and only then takes the traffic; the old one finishes what it was asked and is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import shutil
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bentos.child import Child, ChildError
from bentos.gateway import Gateway, Service
from bentos.golden import prove
from bentos.placement import Desired, Placement, PlacementFile
from bentos.trial import Trial
from mlcore.policy.serving import TrialPolicy

log = logging.getLogger("bentos.host")
TOKEN_FILE: Final = "token"
_HOMES: Final = "homes"
_MOST_BODY_BYTES: Final = 64 * 1024 * 1024
_SLOWEST_RETRY_SECONDS: Final = 30.0


class DeployRequest(BaseModel):
    """Body of ``POST /-/deploy``."""

    model_config = ConfigDict(extra="forbid")

    usecase: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    model_version: int
    bento_path: str
    trial: TrialPolicy | None = None


class UsecaseRequest(BaseModel):
    """Body of ``POST /-/rollback`` and ``POST /-/stop``."""

    model_config = ConfigDict(extra="forbid")

    usecase: str


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
        self._file = PlacementFile(state_dir)
        self._desired = self._file.load()
        self._services: dict[str, Service] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession

    def application(self) -> web.Application:
        """Return the web application: the admin routes under ``/-/``, everything else is passed on."""
        application = web.Application(client_max_size=_MOST_BODY_BYTES, middlewares=[self._admin])
        application.router.add_get("/-/status", self._status)
        application.router.add_post("/-/deploy", self._deploy)
        application.router.add_post("/-/rollback", self._rollback)
        application.router.add_post("/-/stop", self._stop_one)
        application.router.add_route("*", "/{usecase}/{path:.*}", self._forward)
        application.on_startup.append(self._start)
        application.on_cleanup.append(self._stop)
        return application

    @web.middleware
    async def _admin(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Guard the admin routes, and tell what is wrong with a request to them."""
        if not request.path.startswith("/-/"):
            response: web.StreamResponse = await handler(request)
            return response
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="the host's token is needed: it is in its state folder")
        try:
            response = await handler(request)
        except ChildError as error:
            return web.json_response({"error": str(error)}, status=409)
        except ValidationError as error:
            return web.json_response({"error": str(error)}, status=422)
        return response

    async def _start(self, _: web.Application) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        self._gateway = Gateway(self._services, self._session)
        shutil.rmtree(self.state_dir / _HOMES, ignore_errors=True)  # of services that died with a host before
        for name in self._desired:
            service = self._services[name] = Service()
            self._spawn(self._keep_up(name, service))

    async def _stop(self, _: web.Application) -> None:
        for task in self._tasks:
            task.cancel()
        running = [child for service in self._services.values() for child in _children(service)]
        await asyncio.gather(*(child.stop() for child in running))
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        return await self._gateway.forward(request)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({name: self._facts(name) for name in self._services})

    def _facts(self, name: str) -> dict[str, Any]:
        service, desired = self._services[name], self._desired[name]
        return {
            **asdict(desired.current),
            "ready": service.ready.is_set(),
            "port": service.child.port if service.child else None,
            "previous": desired.previous.model_version if desired.previous else None,
            "trial": service.trial.to_json() if service.trial else None,
        }

    async def _deploy(self, request: web.Request) -> web.Response:
        wanted = DeployRequest.model_validate_json(await request.read())
        placement = Placement(wanted.usecase, wanted.model_version, wanted.bento_path)
        return await self._bring(placement, wanted.trial)

    async def _rollback(self, request: web.Request) -> web.Response:
        name = UsecaseRequest.model_validate_json(await request.read()).usecase
        desired = self._desired.get(name)
        if desired is None or desired.previous is None:
            raise ChildError(f"nothing served {name!r} before")
        return await self._bring(desired.previous, None)

    async def _stop_one(self, request: web.Request) -> web.Response:
        name = UsecaseRequest.model_validate_json(await request.read()).usecase
        async with self._lock(name):
            self._desired.pop(name, None)
            self._file.save(self._desired)
            service = self._services.pop(name, None)
            if service is not None and service.child is not None:
                await service.child.retire()
        return web.json_response({"stopped": service is not None})

    async def _bring(self, placement: Placement, policy: TrialPolicy | None) -> web.Response:
        """Start `placement` beside what serves now, prove it, try it, and let it take the traffic."""
        name = placement.usecase
        if (tried := self._services.get(name)) is not None and tried.trial is not None:
            tried.trial.give_up()  # a rollback does not wait for the end of a trial
        async with self._lock(name):
            child = await self._launch(placement)
            trial = None
            try:
                proven = await prove(self._session, child.url, Path(placement.bento_path))
                if policy is not None and name in self._services:
                    trial = await self._try(self._services[name], Trial(child, policy))
            except ChildError:
                await child.stop()
                raise
            desired = self._desired.get(name)
            # on disk before the first answer: a host that is killed now comes back with what it had begun to serve
            self._desired[name] = desired.then(placement) if desired else Desired(placement)
            self._file.save(self._desired)
            service = self._services.setdefault(name, Service())
            old = service.serve_with(child)
            self._spawn(self._keep_up(name, service, child))
            if old is not None:
                self._spawn(old.retire())
        facts = {"model_version": placement.model_version, "golden_rows": proven, "trial": trial}
        return web.json_response(facts)

    async def _try(self, service: Service, trial: Trial) -> dict[str, Any]:
        service.trial = trial
        try:
            return asdict(await trial.finish())
        finally:
            service.trial = None

    async def _launch(self, placement: Placement) -> Child:
        log_file = self.state_dir / "logs" / f"{placement.usecase}.log"
        return await Child.start(placement.bento_path, log_file, self.state_dir / _HOMES, self._session)

    async def _keep_up(self, name: str, service: Service, child: Child | None = None) -> None:
        """Start a use case's process again whenever it ended by itself, until another took its place."""
        pause = 1.0
        while True:
            if child is not None:
                await child.ended()
                if service.child is not child or self._services.get(name) is not service:
                    return
                service.ready.clear()
                log.warning("%s ended by itself and is started again", name)
            before = service.child
            try:
                child = await self._launch(self._desired[name].current)
            except ChildError as error:
                log.error("%s does not come up again: %s", name, error)
                child = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, _SLOWEST_RETRY_SECONDS)
            if service.child is not before or self._services.get(name) is not service:
                # deployed or stopped meanwhile
                if child is not None:
                    await child.stop()
                return
            if child is not None:
                service.serve_with(child)
                pause = 1.0

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _children(service: Service) -> list[Child]:
    return [child for child in (service.child, service.trial.child if service.trial else None) if child is not None]


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
