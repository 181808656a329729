"""The gateway over real HTTP: waiting, trying again, canary and shadow, each with a small service behind it."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bentos.child import ChildError
from bentos.gateway import Gateway, Service
from bentos.placement import Desired, Placement, PlacementFile
from bentos.trial import Trial
from mlcore.policy.serving import TrialPolicy


class Upstream:
    """Something that answers /predict with its name, or as it is told to."""

    def __init__(self, name: str, status: int = 200) -> None:
        self.name = name
        self.status = status
        self.asked: list[Any] = []
        self.in_flight = 0
        self.pause = 0.0
        application = web.Application()
        application.router.add_post("/predict", self._predict)
        self.server = TestServer(application)

    @functools.cached_property
    def url(self) -> str:
        """Where it answers, or answered."""
        return f"http://127.0.0.1:{self.server.port}"

    async def _predict(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json(), request.headers.get("X-Capture")))
        await asyncio.sleep(self.pause)
        return web.json_response({"predictions": [{"prediction": self.name}]}, status=self.status)


class Front:
    """A gateway with clients."""

    def __init__(self, services: dict[str, Service], session: aiohttp.ClientSession) -> None:
        self.session = session
        application = web.Application()
        application.router.add_route("*", "/{usecase}/{path:.*}", Gateway(services, session).forward)
        self.server = TestServer(application)

    async def ask(self, count: int = 1) -> list[str | int]:
        """Return who answered, or with which status it was refused."""
        answers: list[str | int] = []
        for number in range(count):
            url = f"http://127.0.0.1:{self.server.port}/churn/predict"
            async with self.session.post(url, json={"n": number}) as answer:
                body = await answer.text()
                answers.append(json.loads(body)["predictions"][0]["prediction"] if answer.ok else answer.status)
        return answers


def _run(story: Callable[[Front, Service, Upstream, Upstream], Awaitable[None]], **new: Any) -> None:
    async def act() -> None:
        old, candidate = Upstream("old"), Upstream("new", **new)
        service = Service()
        async with aiohttp.ClientSession() as session:
            front = Front({"churn": service}, session)
            async with old.server, candidate.server, front.server:
                assert old.url != candidate.url
                service.serve_with(old)  # type: ignore[arg-type]
                await story(front, service, old, candidate)

    asyncio.run(act())


def _policy(kind: str, percent: float, seconds: float = 0.2) -> TrialPolicy:
    return TrialPolicy(kind=kind, percent=percent, duration=timedelta(seconds=seconds))  # type: ignore[arg-type]


def test_a_canary_gets_its_share():
    """One request in four is the candidate's, spread evenly, from the first on."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = Trial(candidate, _policy("canary", 25))  # type: ignore[arg-type]
        answers = await front.ask(40)
        assert answers[0] == "new"
        assert answers.count("new") == 11
        report = await service.trial.finish()
        assert (report.requests, report.failed) == (11, 0)

    _run(story)


def test_a_failing_canary_loses_no_request_and_ends_early():
    """What it cannot answer the trusted version does; it is refused as soon as that is clear."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = trial = Trial(candidate, _policy("canary", 100, seconds=60))  # type: ignore[arg-type]
        verdict = asyncio.create_task(trial.finish())
        assert await front.ask(25) == ["old"] * 25
        with pytest.raises(ChildError, match=r"failed \d+ of \d+ requests"):
            await asyncio.wait_for(verdict, 5)

    _run(story, status=500)


def test_a_canary_that_dies_is_noticed():
    """No connection counts as a failure, and the caller does not see it."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = trial = Trial(candidate, _policy("canary", 100))  # type: ignore[arg-type]
        await candidate.server.close()
        assert await front.ask(3) == ["old"] * 3
        with pytest.raises(ChildError, match="3 of 3"):
            await trial.finish()

    _run(story)


def test_a_trial_gives_way_to_another_version():
    """Who asks for another version, to roll back, does not wait for the end of an hour's trial."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = trial = Trial(candidate, _policy("canary", 100, seconds=3600))  # type: ignore[arg-type]
        verdict = asyncio.create_task(trial.finish())
        assert await front.ask(3) == ["new"] * 3
        trial.give_up()
        with pytest.raises(ChildError, match="another version was asked for"):
            await asyncio.wait_for(verdict, 5)

    _run(story)


def test_a_shadow_is_compared_and_never_answers():
    """Copies say that they are not to be captured; differing answers are counted."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = trial = Trial(candidate, _policy("shadow", 100))  # type: ignore[arg-type]
        assert await front.ask(10) == ["old"] * 10
        report = await trial.finish()
        assert (report.requests, report.failed, report.compared, report.different) == (10, 0, 10, 10)
        assert {capture for _, capture in candidate.asked} == {"off"}
        assert {capture for _, capture in old.asked} == {None}

    _run(story)


def test_a_refused_request_is_no_failure_of_the_candidate():
    """A caller's mistake is told to the caller, whoever finds it."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.trial = trial = Trial(candidate, _policy("canary", 100))  # type: ignore[arg-type]
        assert await front.ask(5) == [422] * 5
        assert (await trial.finish()).failed == 0

    _run(story, status=422)


def test_requests_wait_for_a_process_that_is_started():
    """While a process starts again, requests are held, and answered when it is there."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        service.ready.clear()
        waiting = asyncio.create_task(front.ask())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        service.serve_with(candidate)  # type: ignore[arg-type]
        assert await waiting == ["new"]

    _run(story)


def test_a_request_whose_process_dies_goes_to_the_next():
    """A switch between two attempts is seen."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        await old.server.close()
        waiting = asyncio.create_task(front.ask())
        await asyncio.sleep(0.1)
        service.serve_with(candidate)  # type: ignore[arg-type]
        assert await waiting == ["new"]

    _run(story)


def test_who_is_retired_is_seen_to_be_busy():
    """The count of requests in flight is what a drain waits for."""

    async def story(front: Front, service: Service, old: Upstream, candidate: Upstream) -> None:
        old.pause = 0.3
        waiting = asyncio.create_task(front.ask())
        await asyncio.sleep(0.15)
        assert service.serve_with(candidate) is old  # type: ignore[arg-type, comparison-overlap]
        assert old.in_flight == 1
        assert await waiting == ["old"]
        assert old.in_flight == 0

    _run(story)


def test_the_desired_state_comes_back(tmp_path):
    """What was saved is loaded; deploying the same again keeps the way back."""
    first, second = Placement("churn", 1, "/one"), Placement("churn", 2, "/two")
    desired = Desired(first).then(second).then(second)
    PlacementFile(tmp_path).save({"churn": desired})
    assert PlacementFile(tmp_path).load() == {"churn": Desired(second, first)}
    assert PlacementFile(tmp_path / "nowhere").load() == {}
