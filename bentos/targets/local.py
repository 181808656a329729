"""This machine's service host, as a deployment target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from mlcore.errors import DeploymentError, ServerError

if TYPE_CHECKING:
    from mlcore.policy.serving import TrialPolicy

#: How long a host may take to put a Bento into service, besides a trial.
TIMEOUT_SECONDS: Final = 150.0


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
        self._client = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS
        )

    @classmethod
    def at(cls, base_url: str, state_dir: Path) -> LocalTarget:
        """Return the target for the host that keeps its state in `state_dir`."""
        try:
            token = (state_dir / "token").read_text()
        except OSError as error:
            raise _unreachable(base_url, f"no token in {state_dir}") from error
        return cls(base_url, token)

    def deploy(
        self, usecase: str, model_version: int, bento_path: str, trial: TrialPolicy | None = None
    ) -> ServiceStatus:
        """Put a Bento into service; on failure what served before still serves.

        Parameters
        ----------
        usecase : str
        model_version : int
        bento_path : str
        trial : TrialPolicy, optional
            Tries it on live requests first, where another version serves already.

        Raises
        ------
        DeploymentError
            If the new version does not come up, or fails on its golden rows or on trial.
        """
        body = {
            "usecase": usecase,
            "model_version": model_version,
            "bento_path": bento_path,
            "trial": trial.model_dump(mode="json") if trial else None,
        }
        tried_seconds = trial.duration.total_seconds() if trial else 0.0
        answer = self._call("POST", "/-/deploy", json=body, timeout=TIMEOUT_SECONDS + tried_seconds)
        return self._put(answer, usecase, f"{usecase} version {model_version}")

    def rollback(self, usecase: str) -> ServiceStatus:
        """Put the version that served before into service again.

        Raises
        ------
        DeploymentError
            If nothing did, or it does not come up.
        """
        return self._put(self._call("POST", "/-/rollback", json={"usecase": usecase}), usecase, usecase)

    def stop(self, usecase: str) -> bool:
        """Serve the use case no longer; return whether it was served."""
        return bool(self._call("POST", "/-/stop", json={"usecase": usecase}).json()["stopped"])

    def status(self, usecase: str) -> ServiceStatus | None:
        """Return what serves `usecase`, None where nothing does."""
        known: dict[str, Any] = self._call("GET", "/-/status").json()
        if usecase not in known:
            return None
        facts = known[usecase]
        return ServiceStatus(f"{self._base_url}/{usecase}/predict", facts["model_version"], facts["ready"])

    def _put(self, answer: httpx.Response, usecase: str, subject: str) -> ServiceStatus:
        if answer.status_code != 200:
            raise DeploymentError(
                "the new version was not put into service",
                subject=subject,
                got=_reason(answer)[:800],
                remedy="What served before still serves.",
            )
        return ServiceStatus(f"{self._base_url}/{usecase}/predict", answer.json()["model_version"], ready=True)

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise _unreachable(self._base_url, f"{type(error).__name__}: {error}") from None
        if answer.status_code == 403:
            raise _unreachable(self._base_url, "another host's token")
        return answer


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text}".strip()


def _unreachable(base_url: str, got: str) -> ServerError:
    return ServerError(
        "the service host does not answer",
        subject=base_url,
        expected="a running host",
        got=got,
        remedy="`make up` starts one; MLOPS_HOST_URL says where to look.",
    )
