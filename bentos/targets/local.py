"""This machine's service host, as a deployment target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from mlcore.errors import DeploymentError, ServerError


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What serves a use case."""

    url: str
    model_version: int
    ready: bool


class LocalTarget:
    """A client of the host's admin API.

    Raises
    ------
    ServerError
        By every method, where the host cannot be reached.
    """

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url = base_url
        self._client = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=150.0)

    @classmethod
    def at(cls, base_url: str, state_dir: Path) -> LocalTarget:
        """Return the target for the host that keeps its state in `state_dir`."""
        try:
            token = (state_dir / "token").read_text()
        except OSError as error:
            raise _unreachable(base_url, f"no token in {state_dir}") from error
        return cls(base_url, token)

    def deploy(self, usecase: str, model_version: int, bento_path: str) -> ServiceStatus:
        """Put a Bento into service; on failure what served before still serves.

        Raises
        ------
        DeploymentError
            If the new version does not come up, or fails on its golden rows.
        """
        body = {"usecase": usecase, "model_version": model_version, "bento_path": bento_path}
        answer = self._call("POST", "/-/deploy", json=body)
        if answer.status_code != 200:
            raise DeploymentError(
                "the new version was not put into service",
                subject=f"{usecase} version {model_version}",
                got=str(answer.json().get("error", answer.text) if answer.content else answer.status_code)[:800],
                remedy="What served before still serves.",
            )
        return ServiceStatus(f"{self._base_url}/{usecase}/predict", model_version, ready=True)

    def status(self, usecase: str) -> ServiceStatus | None:
        """Return what serves `usecase`, None where nothing does."""
        known: dict[str, Any] = self._call("GET", "/-/status").json()
        if usecase not in known:
            return None
        facts = known[usecase]
        return ServiceStatus(f"{self._base_url}/{usecase}/predict", facts["model_version"], facts["ready"])

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise _unreachable(self._base_url, f"{type(error).__name__}: {error}") from None
        if answer.status_code == 403:
            raise _unreachable(self._base_url, "another host's token")
        return answer


def _unreachable(base_url: str, got: str) -> ServerError:
    return ServerError(
        "the service host does not answer",
        subject=base_url,
        expected="a running host",
        got=got,
        remedy="`make up` starts one; MLOPS_HOST_URL says where to look.",
    )
