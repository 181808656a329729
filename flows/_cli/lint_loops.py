"""Who hears what the flows emit: events that nobody hears, and flows that would wake each other for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from flows._cli.lint_triggers import expected
from mlcore import events

_ASKING: Final = frozenset({events.APPROVAL_REQUESTED, events.APPROVAL_SUPERSEDED})
_JUDGING: Final = _ASKING | {events.MODEL_VALIDATED, events.MODEL_REJECTED}
_PUBLISHING: Final = frozenset({events.DATASET_PUBLISHED, events.DATASET_REJECTED})
_DEPLOYING: Final = frozenset({events.SERVICE_DEPLOYED, events.DEPLOYMENT_FAILED})
_DECIDING: Final = frozenset({events.RETRAINING_REQUESTED, events.RETRAINING_DECLINED})
#: What each flow announces of its own accord. What `maintain` announces again was announced before, by one of these.
EMITS: Final[Mapping[str, frozenset[str]]] = {
    "flows/publish.py:publish": _PUBLISHING,
    "flows/train.py:train": frozenset({events.MODEL_TRAINED}),
    "flows/validate.py:validate": _JUDGING,
    "flows/retrain.py:retrain": _DECIDING | _PUBLISHING | _JUDGING | {events.MODEL_TRAINED},
    "flows/approve.py:approve": frozenset(
        {events.APPROVAL_GRANTED, events.APPROVAL_DENIED, events.APPROVAL_SUPERSEDED}
    ),
    "flows/promote.py:promote": frozenset({events.MODEL_PROMOTED, events.APPROVAL_SUPERSEDED}),
    "flows/package.py:package": frozenset({events.BENTO_BUILT}),
    "flows/deploy.py:deploy": _DEPLOYING,
    "flows/rollback.py:rollback": _DEPLOYING | {events.MODEL_PROMOTED, events.APPROVAL_SUPERSEDED},
    "flows/maintain.py:maintain": frozenset(
        {events.WINDOW_CLOSED, events.APPROVAL_REMINDED, events.APPROVAL_DENIED, events.APPROVAL_SUPERSEDED}
    ),
    "flows/monitor.py:monitor": _DECIDING | {events.DRIFT_DETECTED, events.QUALITY_FAILED},
}
#: Flows in which a pure function, or a person, says whether it goes on: a loop through one of them ends.
DECIDES: Final = frozenset({"flows/retrain.py:retrain", "flows/validate.py:validate", "flows/approve.py:approve"})
#: What systems outside and the service emit.
FROM_OUTSIDE: Final = frozenset({events.DATASET_ANNOUNCED, events.CAPTURE_SEALED})
#: What is only told, to whoever looks.
FOR_THE_RECORD: Final = frozenset(
    {events.MODEL_TRAINED, events.APPROVAL_DENIED, events.SERVICE_DEPLOYED, events.RETRAINING_DECLINED}
)

Triggers = Sequence[tuple[str, Mapping[str, Any]]]


def unheard(triggers: Triggers, told: Collection[str]) -> list[str]:
    """Return the events that no trigger hears, nobody is `told`, and that are not for the record."""
    heard = {event for _, trigger in triggers for event in expected(trigger)}
    return sorted(events.PAYLOAD_KEYS.keys() - heard - {*told} - FOR_THE_RECORD)


def loops(triggers: Triggers) -> Iterator[str]:
    """Yield each way in which events lead to themselves past every decision."""
    follows: dict[str, dict[str, str]] = {}
    for entrypoint, trigger in triggers:
        if entrypoint not in DECIDES:
            for event in expected(trigger):
                follows.setdefault(event, {}).update(dict.fromkeys(EMITS.get(entrypoint, ()), entrypoint))
    told: set[frozenset[str]] = set()
    for start in sorted(follows):
        for path in _back_to(start, follows):
            if frozenset(path) not in told:
                told.add(frozenset(path))
                flows = ", ".join(
                    sorted({follows[event][after] for event, after in zip(path, [*path[1:], start], strict=True)})
                )
                yield f"{' -> '.join([*path, start])}: a loop without a decision, through {flows}"


def _back_to(start: str, follows: Mapping[str, Mapping[str, str]]) -> Iterator[list[str]]:
    paths = [[start]]
    while paths:
        path = paths.pop()
        for after in sorted(follows.get(path[-1], ())):
            if after == start:
                yield path
            elif after not in path:
                paths.append([*path, after])
