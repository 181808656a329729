"""A new version on live requests: as a canary it answers some, as a shadow it only gets copies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from bentos.child import Child, ChildError
from mlcore.policy.serving import TrialPolicy

#: Below so many requests a share of failures says nothing yet.
_EARLY: Final = 20


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What was seen: requests it got, how many failed, and how many answers differed from the old version's."""

    requests: int
    failed: int
    compared: int
    different: int


class Trial:
    """A candidate and what happened to its requests.

    Parameters
    ----------
    child : Child
        The candidate's process.
    policy : TrialPolicy
    """

    def __init__(self, child: Child, policy: TrialPolicy) -> None:
        self.child = child
        self.is_shadow = policy.kind == "shadow"
        self._policy = policy
        self._seen = 0
        self._requests = 0
        self._failed = 0
        self._compared = 0
        self._different = 0
        self._over = asyncio.Event()
        self._outdated = False

    def takes_next(self) -> bool:
        """Return whether the next request is one for the candidate: every 100 / percent-th, from the first on."""
        before, self._seen = self._seen, self._seen + 1
        share = self._policy.percent / 100
        return before == 0 or int(self._seen * share) > int(before * share)

    def answered(self, status: int) -> bool:
        """Count an answer of the candidate, 0 for none; return whether it is good enough to be passed on."""
        self._requests += 1
        good = 0 < status < 500
        self._failed += not good
        if self._requests >= _EARLY and self._has_failed():
            self._over.set()
        return good

    def compare(self, old: bytes, new: bytes) -> None:
        """Count whether the candidate predicted something else."""
        self._compared += 1
        self._different += _predictions(old) != _predictions(new)

    def give_up(self) -> None:
        """End the trial without a finding: another version was asked for."""
        self._outdated = True
        self._over.set()

    async def finish(self) -> TrialReport:
        """Wait until the trial is over.

        Raises
        ------
        ChildError
            If too large a share of the candidate's requests failed, at once where that is clear early; or if it was
            given up.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._policy.duration.total_seconds())
        if self._outdated:
            raise ChildError("its trial was ended: another version was asked for")
        if self._has_failed():
            raise ChildError(
                f"as a {self._policy.kind} it failed {self._failed} of {self._requests} requests, "
                f"at most {self._policy.maximum_error_fraction:.1%} may fail"
            )
        return TrialReport(self._requests, self._failed, self._compared, self._different)

    def _has_failed(self) -> bool:
        return self._failed > self._policy.maximum_error_fraction * self._requests

    def to_json(self) -> dict[str, Any]:
        """Return how it stands."""
        return {
            "kind": self._policy.kind,
            **asdict(TrialReport(self._requests, self._failed, self._compared, self._different)),
        }


def _predictions(body: bytes) -> list[Any] | None:
    try:
        return [answer["prediction"] for answer in json.loads(body)["predictions"]]
    except (ValueError, KeyError, TypeError):
        return None
