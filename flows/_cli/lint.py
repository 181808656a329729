"""`mlops lint`: what Prefect would take without a word and do wrongly, found in prefect.yaml before it is applied."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlcore import events
from mlcore.errors import SettingsError

PROJECT: Final = Path(__file__).parent.parent.parent
_DEPLOYMENT_KEYS: Final = frozenset(
    {
        "name",
        "entrypoint",
        "description",
        "work_pool",
        "triggers",
        "parameters",
        "schedules",
        "tags",
        "concurrency_limit",
    }
)
_TRIGGER_KEYS: Final = frozenset(
    {
        "name",
        "type",
        "enabled",
        "description",
        "expect",
        "match",
        "match_related",
        "for_each",
        "posture",
        "threshold",
        "within",
        "schedule_after",
        "parameters",
    }
)
_FIELD: Final = re.compile(r"event\.payload\.(\w+)")
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}")
_SUSPENDING: Final = frozenset({"flows/approve.py"})
#: Events that systems outside announce.
_FROM_OUTSIDE: Final = frozenset({events.DATASET_ANNOUNCED})
#: Event of the server itself that flows are woken by: the process of a run has died.
_CRASHED: Final = "prefect.flow-run.Crashed"


def lint(path: Path = PROJECT / "prefect.yaml") -> list[str]:
    """Return every problem of the file, each with where it is.

    Raises
    ------
    SettingsError
        If the file is missing or is not YAML.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError("the file cannot be read", subject=str(path), got=str(error)[:200]) from None
    return list(problems(data, path.parent))


def problems(data: Mapping[str, Any], root: Path = PROJECT) -> Iterator[str]:
    """Yield the problems of what prefect.yaml holds."""
    names: list[str] = []
    for deployment in data.get("deployments") or ():
        where = str(deployment.get("entrypoint"))
        yield from _unknown(where, deployment, _DEPLOYMENT_KEYS)
        parameters = _parameters(root, where)
        if parameters is None:
            yield f"{where}: there is no such flow"
            continue
        for name in deployment.get("parameters") or ():
            if name not in parameters:
                yield f"{where}: the flow has no parameter {name!r}"
        if deployment.get("concurrency_limit") and where.partition(":")[0] in _SUSPENDING:
            yield f"{where}: a suspended run loses its slot: no concurrency_limit here"
        for trigger in deployment.get("triggers") or ():
            names.append(str(trigger.get("name")))
            yield from _trigger(f"{where}: {trigger.get('name')}", trigger, parameters)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: two triggers have this name"


def _trigger(where: str, trigger: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    yield from _unknown(where, trigger, _TRIGGER_KEYS)
    if not trigger.get("name"):
        yield f"{where}: a trigger needs a name"
    if trigger.get("type") != "event":
        yield f"{where}: only type 'event' is used here: the others do not tell use cases apart"
        return
    expected, match = trigger.get("expect") or [""], trigger.get("match") or {}
    for event in expected:
        if event not in events.PAYLOAD_KEYS and event != _CRASHED:
            yield f"{where}: expects {event!r}, which nobody emits"
    if trigger.get("within", 0) <= 0 or trigger.get("threshold") != 1 or not trigger.get("for_each"):
        yield f"{where}: not debounced: it needs threshold 1, within above 0, and for_each"
    if _CRASHED in expected:
        if not re.fullmatch(r"[a-z-]+-\*", str(match.get("prefect.resource.name", ""))):
            yield f"{where}: must match prefect.resource.name <flow>-*: other runs crash, too"
    elif not str(match.get("prefect.resource.id", "")).startswith(events.RESOURCE_PREFIX):
        yield f"{where}: must match prefect.resource.id ml.usecase.*"
    yield from _templates(where, trigger, parameters)


def _templates(where: str, trigger: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    given = trigger.get("parameters") or {}
    if "usecase" not in given:
        yield f"{where}: does not pass the use case"
    for name, value in given.items():
        if name not in parameters:
            yield f"{where}: the flow has no parameter {name!r}"
        text = value.get("template", "") if isinstance(value, dict) else str(value)
        if isinstance(value, list) and any(_TEMPLATE.fullmatch(str(item).strip()) for item in value):
            yield f"{where}: {name}: prefect drops a list item that is nothing but a template"
        if "event.id" in text and not isinstance(value, dict):
            yield f"{where}: {name}: an id needs the __prefect_kind: jinja form"
        for field in _FIELD.findall(text):
            promised = all(field in events.PAYLOAD_KEYS.get(event, ()) for event in trigger.get("expect") or ())
            if not promised and "default(" not in text:
                yield f"{where}: {name}: the payload may lack {field!r}: use default(...)"
        if _TEMPLATE.search(text) and not _TEMPLATE.fullmatch(text.strip()) and parameters.get(name, "str") != "str":
            yield f"{where}: {name}: text around a template makes a string, the flow wants {parameters[name]}"


def unheard(data: Mapping[str, Any], alerts: frozenset[str]) -> list[str]:
    """Return the events that no trigger and no alert listens to."""
    heard = {
        event
        for deployment in data["deployments"]
        for trigger in deployment.get("triggers") or ()
        for event in trigger["expect"]
    }
    return sorted(events.PAYLOAD_KEYS.keys() - heard - alerts - _FROM_OUTSIDE)


def _unknown(where: str, found: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    for key in found:
        if key not in known:
            yield f"{where}: unknown key {key!r}"


def _parameters(root: Path, entrypoint: str) -> dict[str, str] | None:
    """Return the parameters of a flow and their types, read from its source without importing it."""
    file, _, name = entrypoint.partition(":")
    path = root / file
    if not path.is_file():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return {item.arg: ast.unparse(item.annotation) if item.annotation else "Any" for item in node.args.args}
    return None
