"""Who must agree before a model serves."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from mlcore.contract import Frozen

Cause = Literal["drift", "dataset", "manual", "schedule"]


class ApprovalPolicy(Frozen):
    """When to ask, whom, and how long to wait; expiry means reject."""

    required: Literal["never", "always", "by_cause"] = Field(
        default="never", description="Whether a person must agree: never, always, or only where `causes` says so."
    )
    causes: tuple[Cause, ...] = Field(
        default=(), description="With `by_cause`: what must have started a training for its model to need agreement."
    )
    approvers: tuple[str, ...] = Field(default=(), description="E-mail addresses of those who may answer.")
    expires_after: timedelta = Field(default=timedelta(days=3), description="No answer within this time means no.")

    @model_validator(mode="after")
    def _somebody_can_answer(self) -> Self:
        if self.required != "never" and not self.approvers:
            raise ValueError("approvers must name at least one person where approval is required")
        if self.required == "by_cause" and not self.causes:
            raise ValueError("causes must be given where required is 'by_cause'")
        return self

    def is_required(self, cause: Cause) -> bool:
        """Whether a model whose training `cause` started needs a person's agreement."""
        return self.required == "always" or (self.required == "by_cause" and cause in self.causes)
