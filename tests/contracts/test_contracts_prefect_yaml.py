"""prefect.yaml, the flows and the events fit together."""

from __future__ import annotations

import copy
import importlib
import inspect
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from flows._cli.alerts import ALERTS
from flows._cli.lint import problems, unheard
from mlcore import events
from mlcore.events import Event

ROOT = Path(__file__).parent.parent.parent
DATA = yaml.safe_load((ROOT / "prefect.yaml").read_text())
NAMES = {
    "publish-dataset",
    "check-quality",
    "train",
    "validate",
    "retrain",
    "approve",
    "promote",
    "package",
    "deploy",
    "score-batch",
    "monitor",
    "rollback",
    "backtest",
    "maintain",
}
TRIGGERS = [
    (deployment["entrypoint"], trigger)
    for deployment in DATA["deployments"]
    for trigger in deployment.get("triggers", ())
]
CRASHED = "prefect.flow-run.Crashed"
OURS = [(entrypoint, trigger) for entrypoint, trigger in TRIGGERS if trigger["expect"] != [CRASHED]]
OF_CRASHES = [(entrypoint, trigger) for entrypoint, trigger in TRIGGERS if trigger["expect"] == [CRASHED]]


def test_prefect_yaml_is_sound():
    """The linter finds nothing in what ships."""
    assert list(problems(DATA)) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("deployments", 0, "triggers", 0, "expcet"), ["x"], "unknown key 'expcet'"),
        (("deployments", 0, "triggers", 0, "expect"), ["ml.dataset.anounced"], "nobody emits"),
        (("deployments", 0, "triggers", 0, "within"), 0, "not debounced"),
        (("deployments", 0, "triggers", 0, "threshold"), 2, "not debounced"),
        (("deployments", 0, "triggers", 0, "for_each"), [], "not debounced"),
        (("deployments", 0, "triggers", 0, "match"), {}, "must match"),
        (("deployments", 0, "triggers", 0, "type"), "compound", "only type 'event'"),
        (("deployments", 0, "triggers", 0, "name"), "", "needs a name"),
        (("deployments", 0, "triggers", 0, "parameters", "url"), "x", "no parameter 'url'"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ event.payload.adress }}", "may lack 'adress'"),
        (("deployments", 0, "triggers", 0, "parameters", "event_id"), "{{ event.id }}", "__prefect_kind"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), ["{{ event.payload.uri }}"], "drops a list item"),
        (
            ("deployments", 4, "triggers", 1, "parameters", "dataset_version"),
            "v{{ event.payload.dataset_version }}",
            "makes a string",
        ),
        (("deployments", 4, "triggers", 3, "match"), {"prefect.resource.id": "prefect.flow-run.*"}, "other runs crash"),
        (("deployments", 5, "concurrency_limit"), 1, "loses its slot"),
        (("deployments", 0, "entrypoint"), "flows/publish.py:publsh", "no such flow"),
        (("deployments", 0, "parameters"), {"x": 1}, "no parameter 'x'"),
    ],
)
def test_the_linter_finds_what_prefect_would_take_silently(path, value, told):
    """Each trap, planted, is found."""
    data = copy.deepcopy(DATA)
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert any(told in problem for problem in problems(data)), list(problems(data))


def test_every_deployment_has_its_fixed_name():
    """Others rely on <flow>/default."""
    found = {}
    for deployment in DATA["deployments"]:
        module, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), name)
        found[flow.name] = deployment["name"]
        assert "usecase" in inspect.signature(flow.fn).parameters
        for parameter, facts in flow.parameters.properties.items():
            assert facts.get("description") or parameter, f"{flow.name}.{parameter} is not described"
    assert found == dict.fromkeys(NAMES, "default")


def test_every_parameter_is_described_in_the_ui():
    """Whoever starts a run from the UI reads what each field is for."""
    for deployment in DATA["deployments"]:
        module, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), name)
        silent = [key for key, facts in flow.parameters.properties.items() if not facts.get("description")]
        assert silent == [], flow.name


def test_every_event_is_heard_or_only_told():
    """An event that nobody listens to is either for the record, and listed here, or a mistake."""
    for_the_record = {events.MODEL_TRAINED, events.APPROVAL_DENIED, events.SERVICE_DEPLOYED, events.RETRAINING_DECLINED}
    assert set(unheard(DATA, frozenset(alert.event for alert in ALERTS))) == for_the_record


LABELS = {
    "ml.dataset.origin": "announced",
    "ml.verdict": "promote",
    "ml.approval": "not-needed",
    "ml.retraining.resume": "true",
    "ml.approval.again": "true",
}


@pytest.mark.parametrize(("entrypoint", "trigger"), OURS, ids=[trigger["name"] for _, trigger in OURS])
def test_triggers_fire_for_their_event_and_no_near_miss(entrypoint, trigger):
    """Matched by the server's own code: the right event fires, every other one and other resources do not."""
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    kept = {key: trigger[key] for key in ("expect", "match", "for_each", "posture", "threshold", "within")}
    matcher = EventTrigger(**kept)

    def wire(name, labels=LABELS, **resource):
        payload = dict.fromkeys(events.PAYLOAD_KEYS[name], 1)
        body = Event(name, "bikeshare", "k", datetime.now(UTC), payload, labels).to_wire()
        body["resource"].update(resource)
        return ReceivedEvent(**body, received=datetime.now(UTC))

    (expected,) = trigger["expect"]
    assert matcher.covers(wire(expected))
    assert not matcher.covers(wire(expected, **{"prefect.resource.id": "prefect.flow-run.1"}))
    for other in events.PAYLOAD_KEYS.keys() - {expected}:
        assert not matcher.covers(wire(other))
    if len(trigger["match"]) > 1:
        assert not matcher.covers(wire(expected, labels={}))


@pytest.mark.parametrize(("entrypoint", "trigger"), OF_CRASHES, ids=[trigger["name"] for _, trigger in OF_CRASHES])
def test_a_crashed_run_wakes_its_own_flow_for_its_use_case(entrypoint, trigger):
    """Matched and rendered by the server's own code: no other flow's runs, no other end, and no run of this test."""
    from jinja2.sandbox import SandboxedEnvironment
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    module, _, name = entrypoint.partition(":")
    flow = getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), name)
    kept = {key: trigger[key] for key in ("expect", "match", "for_each", "posture", "threshold", "within")}
    matcher = EventTrigger(**kept)

    def wire(run: str, event: str = CRASHED, kind: str = "prefect.flow-run.1"):
        resource = {"prefect.resource.id": kind, "prefect.resource.name": run}
        return ReceivedEvent(
            id=uuid.uuid4(), event=event, resource=resource, occurred=datetime.now(UTC), received=datetime.now(UTC)
        )

    run = flow.flow_run_name.format(usecase="bike_share")
    assert matcher.covers(wire(run))
    assert not matcher.covers(wire(run, "prefect.flow-run.Failed"))
    assert not matcher.covers(wire(run, kind="prefect.task-run.1"))
    assert not matcher.covers(wire("maintain"))
    others = {item.partition(":")[2] for item, _ in TRIGGERS} - {name}
    assert not any(matcher.covers(wire(f"{other}-bike_share")) for other in others)
    template = SandboxedEnvironment().from_string(trigger["parameters"]["usecase"])
    assert template.render(event=wire(run)) == "bike_share"
    assert {"usecase", "event_id"} == trigger["parameters"].keys()


@pytest.mark.parametrize("deployment", DATA["deployments"], ids=lambda item: item["entrypoint"])
def test_a_flow_starts_at_about_the_cost_of_prefect(deployment):
    """Importing a flow imports none of the heavy packages: only the stage that needs one pays."""
    module = deployment["entrypoint"].partition(".py")[0].replace("/", ".")
    heavy = (
        "great_expectations",
        "sklearn",
        "alibi_detect",
        "deltalake",
        "altair",
        "bentoml",
        "scipy",
        "numba",
        "pyarrow",
    )
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_event_ids_are_deterministic_and_distinct():
    """The same occurrence has the same id whoever announces it."""

    def made(key):
        return Event(events.WINDOW_CLOSED, "b", key, datetime.now(UTC), {"window_id": "w"}).id

    assert made("1") == made("1") != made("2")
    with pytest.raises(ValueError, match="window_id"):
        Event(events.WINDOW_CLOSED, "b", "1", datetime.now(UTC), {})
