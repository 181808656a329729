"""Names and the one frozen record of every event; an event carries ids, never data."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

DATASET_ANNOUNCED: Final = "ml.dataset.announced"
DATASET_PUBLISHED: Final = "ml.dataset.published"
DATASET_REJECTED: Final = "ml.dataset.rejected"
CAPTURE_SEALED: Final = "ml.capture.sealed"
WINDOW_CLOSED: Final = "ml.window.closed"
QUALITY_FAILED: Final = "ml.quality.failed"
DRIFT_DETECTED: Final = "ml.drift.detected"
RETRAINING_REQUESTED: Final = "ml.retraining.requested"
RETRAINING_DECLINED: Final = "ml.retraining.declined"
MODEL_TRAINED: Final = "ml.model.trained"
MODEL_VALIDATED: Final = "ml.model.validated"
MODEL_REJECTED: Final = "ml.model.rejected"
APPROVAL_REQUESTED: Final = "ml.approval.requested"
APPROVAL_REMINDED: Final = "ml.approval.reminded"
APPROVAL_SUPERSEDED: Final = "ml.approval.superseded"
APPROVAL_GRANTED: Final = "ml.approval.granted"
APPROVAL_DENIED: Final = "ml.approval.denied"
MODEL_PROMOTED: Final = "ml.model.promoted"
BENTO_BUILT: Final = "ml.bento.built"
SERVICE_DEPLOYED: Final = "ml.service.deployed"
DEPLOYMENT_FAILED: Final = "ml.deployment.failed"

#: What the payload of each event must name, besides the use case.
PAYLOAD_KEYS: Final[Mapping[str, frozenset[str]]] = {
    DATASET_ANNOUNCED: frozenset({"uri"}),
    DATASET_PUBLISHED: frozenset({"dataset_version"}),
    DATASET_REJECTED: frozenset({"batch_id"}),
    CAPTURE_SEALED: frozenset({"segment"}),
    WINDOW_CLOSED: frozenset({"window_id"}),
    QUALITY_FAILED: frozenset({"window_id"}),
    DRIFT_DETECTED: frozenset({"window_id"}),
    RETRAINING_REQUESTED: frozenset({"decision_id"}),
    RETRAINING_DECLINED: frozenset({"decision_id"}),
    MODEL_TRAINED: frozenset({"model_version"}),
    MODEL_VALIDATED: frozenset({"model_version", "evaluation_id"}),
    MODEL_REJECTED: frozenset({"model_version", "evaluation_id"}),
    APPROVAL_REQUESTED: frozenset({"approval_id"}),
    APPROVAL_REMINDED: frozenset({"approval_id", "model_version"}),
    APPROVAL_SUPERSEDED: frozenset({"approval_id", "model_version"}),
    APPROVAL_GRANTED: frozenset({"approval_id", "model_version"}),
    APPROVAL_DENIED: frozenset({"approval_id", "model_version"}),
    MODEL_PROMOTED: frozenset({"model_version"}),
    BENTO_BUILT: frozenset({"model_version", "bento_tag"}),
    SERVICE_DEPLOYED: frozenset({"model_version", "deployment_id"}),
    DEPLOYMENT_FAILED: frozenset({"model_version", "deployment_id"}),
}

#: Labels of the resource, besides its id and name, that triggers may match on.
LABELS: Final[Mapping[str, frozenset[str]]] = {
    DATASET_PUBLISHED: frozenset({"ml.dataset.origin"}),
    QUALITY_FAILED: frozenset({"ml.diagnosis"}),
    DRIFT_DETECTED: frozenset({"ml.diagnosis"}),
    RETRAINING_REQUESTED: frozenset({"ml.retraining.resume"}),
    MODEL_VALIDATED: frozenset({"ml.verdict", "ml.approval"}),
    MODEL_REJECTED: frozenset({"ml.verdict", "ml.approval"}),
    APPROVAL_SUPERSEDED: frozenset({"ml.approval.again"}),
}

_NAMESPACE: Final = uuid.UUID("6f1a4f0e-7d0b-5a4b-9f57-6d6c6f6f7073")
RESOURCE_PREFIX: Final = "ml.usecase."


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a use case.

    Parameters
    ----------
    name : str
        One of the names of this module.
    usecase : str
        The use case it happened to; the resource id becomes ``ml.usecase.<usecase>``.
    key : str
        What makes this occurrence one: the same name, use case and key give the same id, so that an
        event delivered twice is one event.
    occurred : datetime
        When it happened, with a time zone.
    payload : Mapping[str, str or int]
        Ids of the things concerned.
    labels : Mapping[str, str]
        Further labels of the resource, for triggers to match on.
    """

    name: str
    usecase: str
    key: str
    occurred: datetime
    payload: Mapping[str, str | int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        required = PAYLOAD_KEYS[self.name]
        if not required <= set(self.payload):
            raise ValueError(f"{self.name} must carry {sorted(required)}. Got {sorted(self.payload)} instead.")

    @property
    def id(self) -> uuid.UUID:
        """Deterministic id: uuid5 over name, use case and key."""
        return uuid.uuid5(_NAMESPACE, f"{self.name}|{self.usecase}|{self.key}")

    @property
    def resource_id(self) -> str:
        """The Prefect resource id."""
        return RESOURCE_PREFIX + self.usecase

    def to_wire(self) -> dict[str, Any]:
        """Return the body of ``POST /api/events`` for this event."""
        return {
            "id": str(self.id),
            "occurred": self.occurred.isoformat(),
            "event": self.name,
            "resource": {
                "prefect.resource.id": self.resource_id,
                "prefect.resource.name": self.usecase,
                **self.labels,
            },
            "payload": {"usecase": self.usecase, **self.payload},
        }


def usecase_of(resource_id: str) -> str | None:
    """Return the use case a resource id names, or None where it names none.

    Examples
    --------
    >>> usecase_of("ml.usecase.bikeshare")
    'bikeshare'
    >>> usecase_of("prefect.flow-run.1") is None
    True
    """
    name = resource_id.removeprefix(RESOURCE_PREFIX)
    return name if name and name != resource_id else None
