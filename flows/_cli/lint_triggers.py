"""Triggers of prefect.yaml: debounced, matching what is emitted, and with parameters that the flow takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlcore import events

if TYPE_CHECKING:
    from jinja2.nodes import Template

#: Event of the server itself that flows are woken by: the process of a run has died.
CRASHED: Final = "prefect.flow-run.Crashed"
#: Another: a worker is there again.
STARTED: Final = "prefect.worker.started"
#: How often a run has begun, as its crash tells it: one that never did has no name yet that says what it was for.
_COUNT: Final = "prefect.run-count"
_KEYS: Final = frozenset(
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
_KIND: Final = "__prefect_kind"
_RESOURCE: Final = frozenset({"prefect.resource.id", "prefect.resource.name"})
_ATTRIBUTES: Final = frozenset(
    {"id", "event", "resource", "related", "payload", "occurred", "received", "follows", "resource_id"}
)
#: What is no JSON: as a plain template it would not be sent.
_NOT_JSON: Final = frozenset({"id", "occurred", "received", "follows"})
_NUMBERS: Final = frozenset({"model_version", "dataset_version"})
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "None": type(None),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a flow: its annotation as it is written, and whether a run must be given it."""

    annotation: str
    required: bool


def all_of(deployments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each trigger with the entrypoint of the flow that it starts."""
    for deployment in deployments:
        triggers = deployment.get("triggers")
        for trigger in triggers if isinstance(triggers, list) else ():
            if isinstance(trigger, Mapping):
                yield deployment["entrypoint"], trigger


def expected(trigger: Mapping[str, Any]) -> list[str]:
    """Return the events that a trigger expects; a text alone is refused elsewhere."""
    found = trigger.get("expect")
    return [str(event) for event in found] if isinstance(found, list) else []


def trigger_problems(
    where: str, trigger: Mapping[str, Any], parameters: Mapping[str, Parameter], given: set[str]
) -> Iterator[str]:
    """Yield the problems of a trigger; its deployment gives the parameters `given`."""
    yield from unknown(where, trigger, _KEYS)
    if not trigger.get("name"):
        yield f"{where}: a trigger needs a name"
    if trigger.get("type") != "event":
        yield f"{where}: only type 'event' is used here: metric triggers are refused, the others mix use cases"
        return
    if trigger.get("enabled", True) is not True:
        yield f"{where}: it is switched off"
    if trigger.get("posture") != "Reactive":
        yield f"{where}: posture must be Reactive: nothing here is done because an event does not come"
    if not expected(trigger):
        yield f"{where}: expect must be a list of events"
    for event in expected(trigger):
        if event not in events.PAYLOAD_KEYS and event not in (CRASHED, STARTED):
            yield f"{where}: expects {event!r}, which nobody emits"
    yield from _debounce(where, trigger)
    yield from _match(where, trigger)
    yield from _parameters(where, trigger, parameters, given)


def _debounce(where: str, trigger: Mapping[str, Any]) -> Iterator[str]:
    within, threshold = trigger.get("within"), trigger.get("threshold")
    apart = "prefect.resource.name" if CRASHED in expected(trigger) else "prefect.resource.id"
    if _COUNT in (trigger.get("match") or {}):
        apart = "prefect.state-type"  # names are random, and one look is for all of them
    is_number = isinstance(within, (int, float)) and not isinstance(within, bool)
    if not is_number or within <= 0 or threshold != 1 or trigger.get("for_each") != [apart]:  # type: ignore[operator]
        yield f"{where}: not debounced: it needs threshold 1, within above 0, and for_each [{apart}]"
    later = trigger.get("schedule_after", 0)
    if not isinstance(later, (int, float)) or later < 0:
        yield f"{where}: schedule_after must be seconds"


def _match(where: str, trigger: Mapping[str, Any]) -> Iterator[str]:
    match = trigger.get("match")
    match = match if isinstance(match, Mapping) else {}
    labels = {label for event in expected(trigger) for label in events.LABELS.get(event, ())}
    for name, value in match.items():
        if name not in _RESOURCE | labels and not (name == _COUNT and CRASHED in expected(trigger)):
            yield f"{where}: match: no event that it expects has the label {name!r}"
        if not isinstance(value, str):
            yield f"{where}: match: {name}: must be a text, in quotes"
    if CRASHED in expected(trigger):
        if match.get(_COUNT) != "0" and not re.fullmatch(r"[a-z-]+-\*", str(match.get("prefect.resource.name", ""))):
            yield f"{where}: must match prefect.resource.name <flow>-*: other runs crash, too"
    elif STARTED in expected(trigger):
        if match.get("prefect.resource.id") != "prefect.worker.*":
            yield f"{where}: must match prefect.resource.id prefect.worker.*"
    elif match.get("prefect.resource.id") != f"{events.RESOURCE_PREFIX}*":
        yield f"{where}: must match prefect.resource.id ml.usecase.*"


def _parameters(
    where: str, trigger: Mapping[str, Any], parameters: Mapping[str, Parameter], given: set[str]
) -> Iterator[str]:
    found = trigger.get("parameters")
    if not isinstance(found, Mapping):
        yield f"{where}: does not pass the use case"
        return
    everywhere = found.get("usecase") == ""  # no event names a use case that might not be there
    for name in ("usecase", "event_id"):
        if name not in found and not (everywhere and name == "event_id"):
            yield f"{where}: does not pass {'the use case' if name == 'usecase' else 'the id of the event'}"
    yield from missing(where, given | {*found}, parameters)
    for name, value in found.items():
        place = f"{where}: {name}"
        if not has_template(value):
            yield from literal(where, name, value, parameters)
            continue
        if name not in parameters:
            yield f"{where}: the flow has no parameter {name!r}"
        is_kind = isinstance(value, Mapping) and _KIND in value
        if is_kind and (value.get(_KIND) != "jinja" or value.keys() != {_KIND, "template"}):
            yield f"{place}: needs {_KIND}: jinja and a template, and nothing else"
        if any(_is_template_alone(item) for item in _lists(value)):
            yield f"{place}: prefect drops a list item that is nothing but a template"
        texts = [str(value.get("template", ""))] if is_kind else list(_texts(value))
        for text in texts:
            annotation = parameters[name].annotation if name in parameters else "Any"
            yield from _template(place, text, trigger, annotation, is_kind=is_kind)


def _template(place: str, text: str, trigger: Mapping[str, Any], annotation: str, *, is_kind: bool) -> Iterator[str]:
    from jinja2 import Environment, TemplateError, meta, nodes

    environment = Environment(autoescape=True)
    try:
        tree = environment.parse(text)
        unnamed = sorted(meta.find_undeclared_variables(tree) - {"event"})
    except TemplateError as error:
        yield f"{place}: cannot be rendered: {error}"
        return
    for name in unnamed:
        yield f"{place}: cannot be rendered: there is no {name!r}, only 'event'"
    has_default = any(item.name in ("default", "d") for item in tree.find_all(nodes.Filter))
    for path in _paths(tree):
        if path and path[0] not in _ATTRIBUTES:
            yield f"{place}: cannot be rendered: an event has no {path[0]!r}"
        elif path[:1] == ("payload",) and len(path) > 1:
            promised = all(path[1] in events.PAYLOAD_KEYS.get(event, ()) for event in expected(trigger))
            if not promised and not has_default:
                yield f"{place}: the payload may lack {path[1]!r}: use default(...)"
            yield from _payload_type(place, text, path[1], annotation)
        elif path and path[0] in _NOT_JSON and not is_kind:
            yield f"{place}: event.{path[0]} needs the {_KIND}: jinja form"
    if not _is_template_alone(text) and "str" not in annotation.split(" | ") and annotation != "Any":
        yield f"{place}: text around a template makes a string, the flow wants {annotation}"


def _payload_type(place: str, text: str, field: str, annotation: str) -> Iterator[str]:
    kind = "int" if field in _NUMBERS else "str"
    if _is_template_alone(text) and annotation != "Any" and kind not in annotation.split(" | "):
        yield f"{place}: the payload's {field!r} is {kind}, the flow wants {annotation}"


def _paths(tree: Template) -> Iterator[tuple[str, ...]]:
    """Yield what is read off `event`, as ('payload', 'uri'); the outermost of nested ones."""
    from jinja2 import nodes

    inner = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if id(node) in inner:
            continue
        path: list[str] = []
        at: Any = node
        while isinstance(at, (nodes.Getattr, nodes.Getitem)):
            inner.add(id(at))
            argument = at.arg if isinstance(at, nodes.Getitem) else None
            path.append(at.attr if isinstance(at, nodes.Getattr) else str(getattr(argument, "value", "")))
            at = at.node
        if isinstance(at, nodes.Name) and at.name == "event":
            yield tuple(reversed(path))


def literal(where: str, name: str, value: Any, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield what is wrong with a parameter that is the same for every run."""
    if name not in parameters:
        yield f"{where}: the flow has no parameter {name!r}"
        return
    options = parameters[name].annotation.split(" | ")
    known = [_TYPES[option] for option in options if option in _TYPES]
    # true is an int as well, for Python alone
    fits = any(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for kind in known)
    if len(known) == len(options) and not fits:
        yield f"{where}: {name}: the flow wants {parameters[name].annotation}, this is {value!r}"


def missing(where: str, given: set[str], parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield the parameters that a run needs and is not given: it would crash."""
    for name, parameter in parameters.items():
        if parameter.required and name not in given:
            yield f"{where}: the flow needs the parameter {name!r}"


def unknown(where: str, found: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    """Yield the keys that Prefect would take and ignore."""
    for key in found:
        if key not in known:
            yield f"{where}: unknown key {key!r}"


def has_template(value: Any) -> bool:
    """Whether there is a template anywhere in `value`."""
    return (isinstance(value, Mapping) and _KIND in value) or any(
        "{{" in text or "{%" in text for text in _texts(value)
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _lists(value: Any) -> Iterator[Any]:
    """Yield the items of every list in `value`, at whatever depth."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _lists(item)
    elif isinstance(value, list):
        for item in value:
            yield item
            yield from _lists(item)


def _is_template_alone(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\{\{.*?\}\}", value.strip()) is not None
