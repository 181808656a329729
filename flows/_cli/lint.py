"""`mlops lint`: what Prefect would take without a word and do wrongly, found in prefect.yaml before it is applied."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flows._cli import lint_loops, lint_triggers
from flows._cli.alerts import ALERTS
from flows._cli.lint_triggers import Parameter, unknown
from mlcore.errors import SettingsError

PROJECT: Final = Path(__file__).parent.parent.parent
_TOP_KEYS: Final = frozenset({"name", "prefect-version", "definitions", "deployments", "build", "push", "pull"})
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
_POOL_KEYS: Final = frozenset({"name", "work_queue_name", "job_variables"})
_RHYTHMS: Final = frozenset({"interval", "cron", "rrule"})
_SCHEDULE_KEYS: Final = _RHYTHMS | {"active", "timezone", "anchor_date", "slug", "parameters"}
_SUSPENDS: Final = re.compile(r"\b(suspend|pause)_flow_run\b|\ba(suspend|pause)_flow_run\b")


def lint(path: Path = PROJECT / "prefect.yaml") -> list[str]:
    """Return every problem of the file, each with where it is.

    Raises
    ------
    SettingsError
        If the file is missing or is not YAML, or says something twice, of which YAML keeps the last.
    """
    return list(problems(read(path), path.parent))


def read(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises
    ------
    SettingsError
        As `lint` does; the message names the line.
    """
    import yaml

    class Strict(yaml.SafeLoader):
        """A loader that refuses a key given twice."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            """Return the next mapping of the file."""
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
            return node

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=Strict)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(
            "the file cannot be read",
            subject=f"{path}:{mark.line + 1}" if mark else str(path),
            expected="YAML in UTF-8",
            got=str(getattr(error, "problem", None) or error)[:200],
            remedy="Mend it at that line." if mark else "",
        ) from None


def problems(data: Any, root: Path = PROJECT) -> Iterator[str]:
    """Yield the problems of what prefect.yaml holds."""
    deployments = data.get("deployments") if isinstance(data, Mapping) else None
    if not isinstance(deployments, list) or not deployments:
        yield "prefect.yaml: it must hold a list of `deployments`"
        return
    yield from unknown("prefect.yaml", data, _TOP_KEYS)
    sound = []
    for number, deployment in enumerate(deployments):
        if not isinstance(deployment, Mapping):
            yield f"deployments[{number}]: must be a mapping"
        elif not isinstance(deployment.get("entrypoint"), str):
            yield f"deployments[{number}]: needs an entrypoint, as flows/train.py:train"
        else:
            sound.append(deployment)
            yield from _deployment(deployment, root)
    for entrypoint, count in Counter(item["entrypoint"] for item in sound).items():
        if count > 1:
            yield f"{entrypoint}: {count} deployments have this flow and name: the last would replace the others"
    heard = list(lint_triggers.all_of(sound))
    for name, count in Counter(str(trigger.get("name") or "") for _, trigger in heard).items():
        if name and count > 1:
            yield f"{name}: two triggers have this name"
    told = {alert.event for alert in ALERTS}
    yield from (f"{event}: no trigger and no alert hears it" for event in lint_loops.unheard(heard, told))
    yield from lint_loops.loops(heard)


def _deployment(deployment: Mapping[str, Any], root: Path) -> Iterator[str]:
    where = deployment["entrypoint"]
    yield from unknown(where, deployment, _DEPLOYMENT_KEYS)
    if deployment.get("name") != "default":
        yield f"{where}: must have the name 'default': others rely on <flow>/default"
    yield from _pool(where, deployment.get("work_pool"))
    flow = _flow(root, where)
    if flow is None:
        yield f"{where}: there is no such flow"
        return
    parameters, suspends = flow
    given = deployment.get("parameters") or {}
    if not isinstance(given, Mapping):
        yield f"{where}: parameters must be a mapping"
        given = {}
    for name, value in given.items():
        if lint_triggers.has_template(value):
            yield f"{where}: {name}: only a trigger's parameters are rendered with an event"
        else:
            yield from lint_triggers.literal(where, name, value, parameters)
    if deployment.get("concurrency_limit") and suspends:
        yield f"{where}: a suspended run loses its slot: no concurrency_limit here"
    yield from _schedules(where, deployment.get("schedules"), {*given}, parameters)
    triggers = deployment.get("triggers") or []
    if not isinstance(triggers, list):
        yield f"{where}: triggers must be a list"
        return
    for number, trigger in enumerate(triggers):
        place = f"{where}: triggers[{number}]"
        if isinstance(trigger, Mapping):
            place = f"{where}: {trigger['name']}" if trigger.get("name") else place
            yield from lint_triggers.trigger_problems(place, trigger, parameters, {*given})
        else:
            yield f"{place}: must be a mapping"


def _pool(where: str, pool: Any) -> Iterator[str]:
    if not isinstance(pool, Mapping) or not pool.get("name"):
        yield f"{where}: needs a work_pool with a name, or no worker ever runs it"
        return
    yield from unknown(f"{where}: work_pool", pool, _POOL_KEYS)
    if lint_triggers.has_template(pool.get("job_variables")):
        yield f"{where}: work_pool.job_variables: prefect drops templates here"


def _schedules(where: str, schedules: Any, given: set[str], parameters: Mapping[str, Parameter]) -> Iterator[str]:
    if schedules is not None and not isinstance(schedules, list):
        yield f"{where}: schedules must be a list"
        return
    for number, schedule in enumerate(schedules or ()):
        place = f"{where}: schedules[{number}]"
        if not isinstance(schedule, Mapping) or len(_RHYTHMS & schedule.keys()) != 1:
            yield f"{place}: needs one of interval, cron and rrule"
            continue
        yield from unknown(place, schedule, _SCHEDULE_KEYS)
        own = schedule.get("parameters") or {}
        for name, value in own.items():
            yield from lint_triggers.literal(place, name, value, parameters)
        yield from lint_triggers.missing(place, given | {*own}, parameters)


def _flow(root: Path, entrypoint: str) -> tuple[dict[str, Parameter], bool] | None:
    """Return a flow's parameters and whether it is suspended, read from its source without importing it."""
    file, _, name = entrypoint.partition(":")
    path = root / file
    if not path.is_file():
        return None
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            required = len(node.args.args) - len(node.args.defaults)
            found = {
                item.arg: Parameter(ast.unparse(item.annotation) if item.annotation else "Any", place < required)
                for place, item in enumerate(node.args.args)
            }
            return found, _SUSPENDS.search(source) is not None
    return None
