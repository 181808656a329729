"""Who must agree before a model serves."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from mlcore.contract import Frozen

Cause = Literal["drift", "dataset", "manual", "schedule"]


class ApprovalPolicy(Frozen):
    """When to ask, whom, how many, and how long to wait.

    One no is enough to reject, and no answer in time means no. A question is about one model, evaluation and dataset
    version: where the model is evaluated again, or the champion changes, it is withdrawn and asked anew. A model that
    was asked about once never serves without an answer.
    """

    required: Literal["never", "always", "by_cause", "by_change"] = Field(
        default="never",
        description="Whether a person must agree: never, always, only where `causes` says so, or only where the "
        "answers change by more than `maximum_change_fraction`.",
    )
    causes: tuple[Cause, ...] = Field(
        default=(), description="With `by_cause`: what must have started a training for its model to need agreement."
    )
    maximum_change_fraction: float | None = Field(
        default=None,
        ge=0,
        description="With `by_change`: how much a model may change the champion's answers to the held-out rows without "
        "anybody being asked. Classification: the share of rows that get another label; regression: the mean absolute "
        "change, as a share of the standard deviation of the champion's answers. A first model always needs agreement.",
    )
    approvers: tuple[str, ...] = Field(default=(), description="E-mail addresses of those who may answer.")
    quorum: int = Field(default=1, ge=1, description="How many different approvers must agree.")
    self_approval: bool = Field(
        default=True,
        description="Whether who started a training may approve its model. If not, whoever starts one by hand has to "
        "say who they are (`actor`).",
    )
    remind_every: timedelta = Field(
        default=timedelta(days=1), description="The owner is reminded of an open question each time this has passed."
    )
    expires_after: timedelta = Field(default=timedelta(days=3), description="No answer within this time means no.")

    @model_validator(mode="after")
    def _somebody_can_answer(self) -> Self:
        if self.required != "never" and not self.approvers:
            raise ValueError("approvers must name at least one person where approval is required")
        if self.required == "by_cause" and not self.causes:
            raise ValueError("causes must be given where required is 'by_cause'")
        if self.required == "by_change" and self.maximum_change_fraction is None:
            raise ValueError("maximum_change_fraction must be given where required is 'by_change'")
        if self.approvers and self.quorum > len(self.people):
            raise ValueError(f"quorum is {self.quorum}, and approvers names {len(self.people)} different people")
        if min(self.remind_every, self.expires_after) <= timedelta():
            raise ValueError("remind_every and expires_after must be above zero")
        return self

    @property
    def people(self) -> frozenset[str]:
        """Who may answer, as addresses are compared."""
        return frozenset(normal(address) for address in self.approvers)

    def is_required(self, cause: Cause, change_fraction: float | None = None) -> bool:
        """Whether a model needs a person's agreement.

        Parameters
        ----------
        cause : {"drift", "dataset", "manual", "schedule"}
            What started its training.
        change_fraction : float or None
            `EvaluationReport.change_fraction`; a change that was not measured needs agreement.
        """
        if self.required == "by_change":
            assert self.maximum_change_fraction is not None
            return change_fraction is None or change_fraction > self.maximum_change_fraction
        return self.required == "always" or (self.required == "by_cause" and cause in self.causes)


def normal(address: str) -> str:
    """Return an e-mail address as it is compared and kept.

    Examples
    --------
    >>> normal(" Owner@Example.org ")
    'owner@example.org'
    """
    return address.strip().lower()
