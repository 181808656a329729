"""Alerts to owners: declared here, applied to the server as automations, the same however often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows._server import Server
from mlcore import events
from mlcore.errors import SettingsError
from mlcore.usecase import UseCase


@dataclass(frozen=True, slots=True)
class Alert:
    """An event the owner wants to hear of, and what is said; both texts are Jinja over the event."""

    event: str
    subject: str
    body: str


ALERTS = (
    Alert(
        events.QUALITY_FAILED,
        "{usecase}: the live data is faulty",
        "Window {{{{ event.payload.window_id }}}}: a data fault. No retraining is started: please fix the data. "
        "`mlops trace {{{{ event.payload.window_id }}}}` shows the evidence.",
    ),
    Alert(
        events.DATASET_REJECTED,
        "{usecase}: a batch was quarantined",
        "Batch {{{{ event.payload.batch_id }}}} failed its checks; it is kept and will not be trained on.",
    ),
    Alert(
        events.MODEL_REJECTED,
        "{usecase}: model version {{{{ event.payload.model_version }}}} was not promoted",
        "Evaluation {{{{ event.payload.evaluation_id }}}} says why; the champion stays.",
    ),
    Alert(
        events.APPROVAL_REQUESTED,
        "{usecase}: model version {{{{ event.payload.model_version }}}} waits for approval",
        "Answer in the Prefect UI, or with `mlops approve {{{{ event.payload.approval_id }}}}`.",
    ),
    Alert(
        events.DEPLOYMENT_FAILED,
        "{usecase}: model version {{{{ event.payload.model_version }}}} could not be deployed",
        "Deployment {{{{ event.payload.deployment_id }}}} failed; what served before still serves.",
    ),
)


def automations(usecase: UseCase, block: str, block_id: str) -> Iterator[dict[str, Any]]:
    """Yield the automations that tell `block` about `usecase`, as the server's API takes them."""
    for alert in ALERTS:
        yield {
            "name": f"alert: {usecase.name} {alert.event} to {block}",
            "description": f"Tells {usecase.owner.name} <{usecase.owner.email}>.",
            "enabled": True,
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "expect": [alert.event],
                "match": {"prefect.resource.id": events.RESOURCE_PREFIX + usecase.name},
                "for_each": ["prefect.resource.id"],
                "threshold": 1,
                "within": 5,
            },
            "actions": [
                {
                    "type": "send-notification",
                    "block_document_id": block_id,
                    "subject": alert.subject.format(usecase=usecase.title),
                    "body": alert.body.format(),
                }
            ],
        }


def apply_alerts(server: Server, usecases: list[UseCase], everywhere: tuple[str, ...]) -> int:
    """Make the server's alert automations those that `usecases` ask for; return how many there are.

    Raises
    ------
    SettingsError
        If a notification block does not exist on the server.
    """
    wanted = {
        automation["name"]: automation
        for usecase in usecases
        for block in dict.fromkeys((*usecase.owner.notify, *everywhere))
        for automation in automations(usecase, block, _block_id(server, block, usecase))
    }
    existing = {
        automation["name"]: automation["id"]
        for automation in server.automations()
        if automation["name"].startswith("alert: ")
    }
    for name, automation in wanted.items():
        server.put_automation(automation, existing.get(name))
    for name in existing.keys() - wanted.keys():
        server.delete_automation(existing[name])
    return len(wanted)


def _block_id(server: Server, block: str, usecase: UseCase) -> str:
    kind, _, name = block.partition("/")
    block_id = server.find_block(kind, name)
    if block_id is None:
        raise SettingsError(
            "no such notification block",
            subject=f"{usecase.name}: owner.notify",
            expected="a block of the Prefect server, as type/name, for example slack-webhook/ml-alerts",
            got=block,
            remedy="Create it in the Prefect UI under Blocks, or take it out.",
        )
    return block_id
