"""The rows of the ledger as frozen values; one class a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

Json = Mapping[str, Any]

Verdict = Literal["promote", "hold", "reject"]
Action = Literal["retrain", "fix_data", "watch", "nothing", "wait"]


@dataclass(frozen=True, slots=True)
class Record:
    """Base of all rows; `TABLE` names the table, `KEY` the columns of the primary key."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class DatasetVersion(Record):
    """One published version of a use case's data; it never changes."""

    TABLE: ClassVar[str] = "datasets"
    KEY: ClassVar[tuple[str, ...]] = ("usecase", "version")

    usecase: str
    version: int
    digest: str
    uri: str
    table_version: int
    rows: int
    origin: Literal["announced", "collected", "manual"]
    source: str
    parents: tuple[int, ...]
    windows: tuple[str, ...]
    time_from: datetime | None
    time_to: datetime | None
    quality_id: str
    cleaning: Json
    published_at: datetime


@dataclass(frozen=True, slots=True)
class QualityRecord(Record):
    """The outcome of one quality check of a batch or a window."""

    TABLE: ClassVar[str] = "quality_reports"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    subject: str
    passed: bool
    rows: int
    report: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantinedBatch(Record):
    """A batch that failed its checks: kept, never trained on."""

    TABLE: ClassVar[str] = "quarantine"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    source: str
    path: str
    reasons: tuple[str, ...]
    quality_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelVersion(Record):
    """One trained model; it never changes."""

    TABLE: ClassVar[str] = "models"
    KEY: ClassVar[tuple[str, ...]] = ("usecase", "version")

    usecase: str
    version: int
    digest: str
    uri: str
    dataset_version: int
    algorithm: str
    parameters: Json
    seed: int
    metrics: Json
    candidates: tuple[Json, ...]
    code_commit: str
    code_dirty: bool
    lock_digest: str
    usecase_digest: str
    cause: str
    cause_key: str
    flow_run_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Alias(Record):
    """Which version an alias names now; `generation` grows by one with every change."""

    TABLE: ClassVar[str] = "aliases"
    KEY: ClassVar[tuple[str, ...]] = ("usecase", "alias")

    usecase: str
    alias: Literal["champion", "challenger", "previous"]
    version: int
    generation: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AliasChange(Record):
    """One entry of an alias's history."""

    TABLE: ClassVar[str] = "alias_history"
    KEY: ClassVar[tuple[str, ...]] = ("usecase", "alias", "generation")

    usecase: str
    alias: str
    generation: int
    version: int
    previous: int | None
    reason: str
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Evaluation(Record):
    """A challenger compared with the champion on the same held-out rows."""

    TABLE: ClassVar[str] = "evaluations"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    model_version: int
    champion_version: int | None
    dataset_version: int
    verdict: Verdict
    sentence: str
    report: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Window(Record):
    """A slice of live traffic."""

    TABLE: ClassVar[str] = "windows"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    cadence: str
    starts_at: datetime
    ends_at: datetime
    rows: int
    labelled: int
    state: Literal["closed", "diagnosed"]
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class DiagnosisRecord(Record):
    """What was found in a window, per feature and overall."""

    TABLE: ClassVar[str] = "diagnoses"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    window_id: str
    model_version: int
    cause: str
    sentence: str
    report: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DecisionRecord(Record):
    """What was decided about one cause, once."""

    TABLE: ClassVar[str] = "decisions"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    cause: str
    cause_key: str
    action: Action
    sentence: str
    evidence: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Retraining(Record):
    """One retraining, from the decision to the model or the failure."""

    TABLE: ClassVar[str] = "retrainings"
    KEY: ClassVar[tuple[str, ...]] = ("decision_id",)

    decision_id: str
    usecase: str
    cause: str
    cause_key: str
    state: Literal["requested", "running", "done", "failed"]
    flow_run_id: str
    dataset_version: int | None
    model_version: int | None
    requested_at: datetime
    finished_at: datetime | None
    error: str
    attempts: int = 0  # runs that began it


@dataclass(frozen=True, slots=True)
class Approval(Record):
    """A question to a person, bound to exactly one model digest, evaluation and dataset version."""

    TABLE: ClassVar[str] = "approvals"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    model_version: int
    model_digest: str
    evaluation_id: str
    dataset_version: int
    state: Literal["pending", "granted", "denied", "expired", "superseded"]
    flow_run_id: str
    approver: str
    reason: str
    requested_at: datetime
    expires_at: datetime
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApprovalAnswer(Record):
    """One person's answer to an approval, the refused ones too, bound to what the person was shown.

    `attempt` counts the answers that one flow run was given: a run that is started again takes none of them twice.
    """

    TABLE: ClassVar[str] = "approval_answers"
    KEY: ClassVar[tuple[str, ...]] = ("approval_id", "flow_run_id", "attempt")

    approval_id: str
    flow_run_id: str
    attempt: int
    usecase: str
    model_version: int
    model_digest: str
    evaluation_id: str
    dataset_version: int
    outcome: Literal["granted", "denied", "refused"]
    approver: str
    reason: str
    refusal: str
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Revalidation(Record):
    """A model to be compared with today's champion, since the one its approval was asked against is none any more."""

    TABLE: ClassVar[str] = "revalidations"
    KEY: ClassVar[tuple[str, ...]] = ("approval_id",)

    approval_id: str
    usecase: str
    model_version: int
    state: Literal["requested", "done", "failed"]
    evaluation_id: str | None
    requested_at: datetime
    finished_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class BentoRecord(Record):
    """A Bento built for a model version."""

    TABLE: ClassVar[str] = "bentos"
    KEY: ClassVar[tuple[str, ...]] = ("usecase", "model_version")

    usecase: str
    model_version: int
    tag: str
    path: str
    digest: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Deployment(Record):
    """One attempt to put a Bento into service; refused it has `failed`, cut short it was `abandoned`."""

    TABLE: ClassVar[str] = "deployments"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    usecase: str
    model_version: int
    bento_tag: str
    target: str
    state: Literal["starting", "serving", "retired", "failed", "abandoned"]
    url: str
    replaces: int | None
    error: str
    created_at: datetime
    changed_at: datetime
    flow_run_id: str = ""


@dataclass(frozen=True, slots=True)
class Wakeup(Record):
    """An event that woke a flow, and what became of it."""

    TABLE: ClassVar[str] = "wakeups"
    KEY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: str
    event: str
    usecase: str
    cause_key: str
    outcome: Literal["acted", "ignored"]
    reason: str
    flow_run_id: str
    payload: Json
    occurred_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Lease(Record):
    """Who may run something alone; a lease not renewed before `expires_at` is free."""

    TABLE: ClassVar[str] = "leases"
    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    holder: str
    token: int
    acquired_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Bookmark(Record):
    """How far something that is read again and again has been read: a moment, and what was there, if that matters."""

    TABLE: ClassVar[str] = "bookmarks"
    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    at: datetime
    found: str = ""


@dataclass(frozen=True, slots=True)
class OutboxEntry(Record):
    """An event to announce, written with the change that it announces; `sequence` is the order of writing."""

    TABLE: ClassVar[str] = "outbox"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    event: str
    usecase: str
    body: Json
    created_at: datetime
    sequence: int
    attempts: int = 0
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry(Record):
    """One link of the append-only audit chain."""

    TABLE: ClassVar[str] = "audit"
    KEY: ClassVar[tuple[str, ...]] = ("sequence",)

    sequence: int
    at: datetime
    usecase: str
    actor: str
    action: str
    subject: str
    facts: Json = field(default_factory=dict)
    previous_hash: str = ""
    hash: str = ""
