"""Alerts to owners: declared here, applied to the server as automations, the same however often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flows._server import Server
from mlcore import events
from mlcore.errors import ServerError, SettingsError
from mlcore.usecase import UseCase

_UNDELIVERED: Final = "prefect.automation.action.failed"
_RECENT: Final = timedelta(days=1)


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
        events.APPROVAL_REMINDED,
        "{usecase}: model version {{{{ event.payload.model_version }}}} still waits for approval",
        "Answer in the Prefect UI, or with `mlops approve {{{{ event.payload.approval_id }}}}`; no answer means no.",
    ),
    Alert(
        events.DEPLOYMENT_FAILED,
        "{usecase}: model version {{{{ event.payload.model_version }}}} could not be deployed",
        "Deployment {{{{ event.payload.deployment_id }}}} failed; what served before still serves.",
    ),
)


#: Runs that ended badly, whatever they did; the server's own events.
FAILED_RUN = Alert(
    "prefect.flow-run.*",
    "{usecase}: {{{{ event.resource['prefect.resource.name'] }}}} "
    "{{{{ event.resource['prefect.state-type'] | default('has failed') | lower }}}}",
    "{{{{ event.resource['prefect.state-message'] | default('The run has no message.') }}}}",
)
_ENDED_BADLY = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut")


def automations(usecase: UseCase, block: str, block_id: str) -> Iterator[dict[str, Any]]:
    """Yield the automations that tell `block` about `usecase`, as the server's API takes them."""
    for alert in ALERTS:
        match: dict[str, Any] = {"prefect.resource.id": events.RESOURCE_PREFIX + usecase.name}
        yield _automation(usecase, block, block_id, alert, [alert.event], match)
    # runs are named after their use case; maintain looks after all of them
    match = {"prefect.resource.id": "prefect.flow-run.*", "prefect.resource.name": [f"*-{usecase.name}", "maintain"]}
    yield _automation(usecase, block, block_id, FAILED_RUN, list(_ENDED_BADLY), match)


def _automation(
    usecase: UseCase, block: str, block_id: str, alert: Alert, expect: list[str], match: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": f"alert: {usecase.name} {alert.event} to {block}",
        "description": f"Tells {usecase.owner.name} <{usecase.owner.email}>.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": expect,
            "match": match,
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


def apply_alerts(server: Server, usecases: list[UseCase], everywhere: tuple[str, ...]) -> tuple[int, list[str]]:
    """Make the server's alert automations those that `usecases` ask for.

    A block that is not there holds nothing up: a new server has none, and the loop runs without.

    Returns
    -------
    tuple of int and list of str
        How many alerts there are, and what is missing, a sentence a block.
    """
    wanted: dict[str, dict[str, Any]] = {}
    missing = []
    for usecase in usecases:
        for block in told(usecase, everywhere):
            try:
                block_id = _block_id(server, block, usecase)
            except SettingsError as error:
                missing.append(str(error))
                continue
            wanted.update((item["name"], item) for item in automations(usecase, block, block_id))
    existing = {
        automation["name"]: automation["id"]
        for automation in server.automations()
        if automation["name"].startswith("alert: ")
    }
    for name, automation in wanted.items():
        server.put_automation(automation, existing.get(name))
    for name in existing.keys() - wanted.keys():
        server.delete_automation(existing[name])
    return len(wanted), missing


def check_alerts(server: Server, usecases: list[UseCase], everywhere: tuple[str, ...], now: datetime) -> str:
    """Return how alerts are.

    Prefect 3.8.8 reports an alert that failed for blocks built on Apprise (Slack, Teams, ...). Of a custom webhook
    whose receiver cannot be reached it reports nothing, so that is not seen here.

    Raises
    ------
    SettingsError
        If a block is not there.
    ServerError
        If an alert of the last day did not reach its receiver.
    """
    blocks = [(usecase, block) for usecase in usecases for block in told(usecase, everywhere)]
    for usecase, block in blocks:
        _block_id(server, block, usecase)
    failed = [
        event
        for event in server.find_events([_UNDELIVERED], since=now - _RECENT, until=now)
        if event.payload.get("action_type") == "send-notification"
    ]
    if failed:
        raise ServerError(
            "alerts did not reach their receivers",
            subject=f"{len(failed)} of the last day, the newest at {failed[-1].occurred:%Y-%m-%d %H:%M} UTC",
            got=str(failed[-1].payload.get("reason", "no reason"))[:300],
            remedy="Check the block in the Prefect UI; nothing waits for an alert.",
        )
    return f"{len(blocks)} blocks are told" if blocks else "nobody is told: owner.notify names no block"


def blocks_of(notify: str) -> tuple[str, ...]:
    """Return the blocks that a setting names, separated by commas."""
    return tuple(block.strip() for block in notify.split(",") if block.strip())


def told(usecase: UseCase, everywhere: tuple[str, ...]) -> tuple[str, ...]:
    """Return the blocks that hear of `usecase`, each once."""
    return tuple(dict.fromkeys((*usecase.owner.notify, *everywhere)))


def _block_id(server: Server, block: str, usecase: UseCase) -> str:
    kind, _, name = block.partition("/")
    block_id = server.find_block(kind, name)
    if block_id is None:
        raise SettingsError(
            "no such notification block",
            subject=f"{usecase.name}: owner.notify",
            expected="a block of the Prefect server, as type/name, for example slack-webhook/ml-alerts",
            got=block,
            remedy="Create it in the Prefect UI under Blocks, then `mlops alerts`; or take it out.",
        )
    return block_id
