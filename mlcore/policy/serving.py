"""How a model is served and what is kept of its answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen


class TrialPolicy(Frozen):
    """How a new version is tried on live requests, after its golden rows, before it takes all of them."""

    kind: Literal["canary", "shadow"] = Field(
        description="canary: answers a share of the requests; shadow: gets copies, its answers are only compared."
    )
    percent: float = Field(default=10, gt=0, le=100, description="Share of the requests it gets.")
    duration: timedelta = Field(default=timedelta(minutes=1), description="How long it is tried.")
    maximum_error_fraction: float = Field(
        default=0.01, ge=0, lt=1, description="Share of its requests that may fail; above, the old version stays."
    )


class ServingPolicy(Frozen):
    """Limits of the service and of what it captures."""

    capture: bool = Field(default=True, description="Whether served rows are kept; without it nothing is monitored.")
    maximum_rows_per_request: int = Field(default=10_000, ge=1, description="A larger request is refused.")
    golden_rows: int = Field(default=20, ge=1, description="Rows with known answers proven before traffic.")
    trial: TrialPolicy | None = Field(
        default=None, description="Trying a new version on live requests; left out: it takes them once it is proven."
    )
    retention: timedelta | None = Field(default=None, description="Age at which captured rows go.")
