"""How a model is served and what is kept of its answers."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from mlcore.contract import Frozen


class ServingPolicy(Frozen):
    """Limits of the service and of what it captures."""

    capture: bool = Field(default=True, description="Whether served rows are kept; without it nothing is monitored.")
    maximum_rows_per_request: int = Field(default=10_000, ge=1, description="A larger request is refused.")
    golden_rows: int = Field(default=20, ge=1, description="Rows with known answers proven before traffic.")
    retention: timedelta | None = Field(default=None, description="Age at which captured rows go.")
