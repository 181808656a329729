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
from flows._cli.lint import lint, problems
from flows._cli.lint_loops import DECIDES, EMITS, FOR_THE_RECORD, FROM_OUTSIDE, unheard
from mlcore import events
from mlcore.errors import SettingsError
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
OURS = [(entrypoint, trigger) for entrypoint, trigger in TRIGGERS if trigger["expect"][0].startswith("ml.")]
OF_CRASHES = [
    (entrypoint, trigger)
    for entrypoint, trigger in TRIGGERS
    if trigger["expect"] == [CRASHED] and "prefect.resource.name" in trigger["match"]
]
(OF_STARTS,) = [trigger for _, trigger in TRIGGERS if "prefect.run-count" in trigger["match"]]
(OF_WORKERS,) = [trigger for _, trigger in TRIGGERS if trigger["expect"] == ["prefect.worker.started"]]


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
        (("deploymnts",), [], "unknown key 'deploymnts'"),
        (("deployments",), {}, "a list of `deployments`"),
        (("deployments", 0), "publish", "deployments[0]: must be a mapping"),
        (("deployments", 0, "trigers"), [], "flows/publish.py:publish: unknown key 'trigers'"),
        (("deployments", 0, "work_pool", "nam"), "x", "work_pool: unknown key 'nam'"),
        (("deployments", 0, "work_pool"), None, "needs a work_pool"),
        (("deployments", 0, "work_pool", "job_variables"), {"env": {"X": "{{ event.id }}"}}, "drops templates"),
        (("deployments", 0, "name"), "nightly", "must have the name 'default'"),
        (("deployments", 0, "entrypoint"), None, "needs an entrypoint"),
        (("deployments", 0, "entrypoint"), "flows/nothing.py:publish", "no such flow"),
        (("deployments", 1, "entrypoint"), "flows/publish.py:publish", "2 deployments have this flow"),
        (("deployments", 0, "triggers"), {"name": "x"}, "triggers must be a list"),
        (("deployments", 0, "triggers", 0), "x", "triggers[0]: must be a mapping"),
        (("deployments", 0, "triggers", 0, "name"), None, "triggers[0]: a trigger needs a name"),
        (("deployments", 0, "triggers", 1, "name"), "publish-dataset when data is announced", "two triggers have"),
        (("deployments", 0, "triggers", 0, "type"), "metric", "metric triggers are refused"),
        (("deployments", 0, "triggers", 0, "type"), "sequence", "only type 'event'"),
        (("deployments", 0, "triggers", 0, "enabled"), False, "switched off"),
        (("deployments", 0, "triggers", 0, "posture"), "Proactive", "posture must be Reactive"),
        (("deployments", 0, "triggers", 0, "expect"), "ml.dataset.announced", "must be a list of events"),
        (("deployments", 0, "triggers", 0, "expect"), ["ml.*"], "expects 'ml.*', which nobody emits"),
        (("deployments", 0, "triggers", 0, "within"), "2", "not debounced"),
        (("deployments", 0, "triggers", 0, "within"), None, "not debounced"),
        (("deployments", 0, "triggers", 0, "for_each"), ["prefect.resource.name"], "not debounced"),
        (("deployments", 0, "triggers", 0, "schedule_after"), "soon", "must be seconds"),
        (("deployments", 0, "triggers", 0, "match"), {"prefect.resource.id": "ml.usecase.bikeshare"}, "must match"),
        (("deployments", 3, "triggers", 0, "match", "ml.approval.again"), True, "must be a text"),
        (("deployments", 3, "triggers", 0, "match", "ml.aproval.again"), "true", "has the label 'ml.aproval.again'"),
        (("deployments", 0, "triggers", 0, "parameters"), {}, "does not pass the use case"),
        (("deployments", 0, "triggers", 0, "parameters", "usecase"), 5, "the flow wants str, this is 5"),
        (("deployments", 4, "triggers", 1, "parameters", "dataset_version"), "new", "this is 'new'"),
        (("deployments", 4, "triggers", 1, "parameters", "dataset_version"), True, "this is True"),
        (
            ("deployments", 4, "triggers", 1, "parameters", "dataset_version"),
            "{{ event.payload.uri | default('') }}",
            "the payload's 'uri' is str",
        ),
        (
            ("deployments", 4, "triggers", 1, "parameters", "window_id"),
            "{{ event.payload.dataset_version }}",
            "'dataset_version' is int",
        ),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ event.payload.uri", "cannot be rendered"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ evnt.payload.uri }}", "there is no 'evnt'"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ event.paylod.uri }}", "has no 'paylod'"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ event.payload['adr'] }}", "may lack 'adr'"),
        (
            ("deployments", 0, "triggers", 0, "parameters", "uri"),
            "{{ event.payload.uri | nice }}",
            "No filter named 'nice'",
        ),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), {"a": [["{{ event.id }}"]]}, "drops a list item"),
        (("deployments", 0, "triggers", 0, "parameters", "uri"), "{{ event.occurred }}", "event.occurred needs the"),
        (("deployments", 0, "triggers", 0, "parameters", "event_id", "__prefect_kind"), "json", "jinja and a template"),
        (("deployments", 0, "parameters"), {"uri": "{{ event.payload.uri }}"}, "only a trigger's parameters"),
        (("deployments", 0, "parameters"), {"uri": 5}, "the flow wants str, this is 5"),
        (("deployments", 0, "parameters"), ["uri"], "parameters must be a mapping"),
        (("deployments", 5, "concurrency_limit"), {"limit": 1, "collision_strategy": "CANCEL_NEW"}, "loses its slot"),
        (("deployments", 8, "schedules"), [{"intervall": 60}], "needs one of interval"),
        (("deployments", 8, "schedules"), [{"interval": 60, "activ": True}], "unknown key 'activ'"),
        (("deployments", 10, "schedules"), [{"interval": 60}], "schedules[0]: the flow needs the parameter 'usecase'"),
        (("deployments", 0, "triggers", 0, "expect"), ["ml.window.closed"], "ml.dataset.announced: no trigger"),
        (
            ("deployments", 0, "triggers", 0, "expect"),
            ["ml.dataset.announced", "ml.dataset.published"],
            "ml.dataset.published -> ml.dataset.published: a loop without a decision, through flows/publish.py",
        ),
        (
            ("deployments", 6, "triggers", 0, "expect"),
            ["ml.model.validated", "ml.service.deployed"],
            "ml.bento.built -> ml.service.deployed -> ml.model.promoted -> ml.bento.built: a loop without a decision",
        ),
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


def test_a_trigger_that_gives_too_little_is_found():
    """A flow that needs more than the trigger gives would crash at each event."""
    data = copy.deepcopy(DATA)
    data["deployments"][12]["triggers"] = [copy.deepcopy(data["deployments"][0]["triggers"][0])]
    told = list(problems(data))
    assert data["deployments"][12]["entrypoint"] == "flows/rollback.py:rollback"
    assert any("the flow needs the parameter 'reason'" in problem for problem in told), told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deployments: [", ":1)"),
        ("deployments:\n  - name: a\n    name: b\n", ":3)"),
        ("a: 1\nb: &x {c: 1}\na: 2\n", "'a' is given twice"),
        ("\tx", ":1)"),
        ("", ""),
        ("deployments", ""),
    ],
)
def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path, text, told):
    """YAML itself would keep the last of two equal keys without a word."""
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    if not told:
        assert lint(path) == ["prefect.yaml: it must hold a list of `deployments`"]
        return
    with pytest.raises(SettingsError, match="cannot be read") as raised:
        lint(path)
    assert told in str(raised.value)


def test_every_event_is_heard_or_only_told():
    """Each is emitted by somebody, and only by flows that are there; what nobody hears is for the record."""
    emitted = {event for names in EMITS.values() for event in names}
    assert emitted | FROM_OUTSIDE == set(events.PAYLOAD_KEYS)
    assert EMITS.keys() | DECIDES <= {deployment["entrypoint"] for deployment in DATA["deployments"]}
    told = {alert.event for alert in ALERTS}
    assert unheard(TRIGGERS, told) == []
    assert FOR_THE_RECORD.isdisjoint({*told, *(event for _, trigger in TRIGGERS for event in trigger["expect"])})


@pytest.mark.parametrize("entrypoint", EMITS)
def test_a_flow_emits_what_its_own_file_announces(entrypoint):
    """The table by which loops are found misses none of the events that are made in the flow's own module."""
    import ast

    made = set()
    for node in ast.walk(ast.parse((ROOT / entrypoint.partition(":")[0]).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Event", "_record"):
            for part in ast.walk(node):
                if isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == "events":
                    made.add(getattr(events, part.attr))
    assert made <= EMITS[entrypoint]


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


def test_every_flow_that_goes_on_by_itself_is_carried_on():
    """Whatever an event wakes is also woken by the crash of its own run; maintain comes by its schedule."""
    woken = {entrypoint for entrypoint, _ in OURS}
    assert {entrypoint for entrypoint, _ in OF_CRASHES} == woken - {"flows/maintain.py:maintain"}


def test_everything_is_looked_after_when_a_worker_starts():
    """The event that the worker itself emits fires the trigger; another end of it does not."""
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent
    from prefect.workers.process import ProcessWorker

    kept = {key: OF_WORKERS[key] for key in ("expect", "match", "for_each", "posture", "threshold", "within")}
    worker, now = ProcessWorker(name="mlops here 1", work_pool_name="mlops"), datetime.now(UTC)
    covers = [
        EventTrigger(**kept).covers(
            ReceivedEvent(id=uuid.uuid4(), event=name, resource=worker._event_resource(), occurred=now, received=now)
        )
        for name in ("prefect.worker.started", "prefect.worker.stopped")
    ]
    assert covers == [True, False]


def test_a_run_that_dies_before_its_first_line_is_looked_after():
    """It has a random name, and no parameter that an event carries: maintain looks at every use case, at once."""
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    kept = {key: OF_STARTS[key] for key in ("expect", "match", "for_each", "posture", "threshold", "within")}
    matcher = EventTrigger(**kept)

    def wire(count, event=CRASHED):
        resource = {"prefect.resource.id": "prefect.flow-run.1", "prefect.resource.name": "wise-fox"}
        resource |= {"prefect.run-count": count, "prefect.state-type": event.rpartition(".")[2].upper()}
        now = datetime.now(UTC)
        return ReceivedEvent(id=uuid.uuid4(), event=event, resource=resource, occurred=now, received=now)

    assert matcher.covers(wire("0"))
    assert not matcher.covers(wire("1"))
    assert not matcher.covers(wire("0", "prefect.flow-run.Cancelled"))


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
