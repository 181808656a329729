"""One installation without a server: the flows' own bodies on a home of their own, woken as prefect.yaml says."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jinja2
import yaml
from prefect import State
from prefect.logging import disable_run_logger

from flows import _approval, deploy, maintain, monitor, package, promote, publish, retrain, rollback, train
from flows import validate as validation
from flows._context import Context
from flows._server import Server
from flows.settings import Settings
from mlcore import events, registry
from mlcore.capture.records import label_record, prediction_record
from mlcore.capture.segments import SegmentWriter, encode
from mlcore.errors import MLOpsError
from mlcore.events import Event
from mlcore.ledger import audit, leases, outbox
from mlcore.ledger.records import (
    Alias,
    AliasChange,
    Approval,
    BentoRecord,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Lease,
    ModelVersion,
    Retraining,
    Revalidation,
    Wakeup,
    Window,
)
from mlcore.ledger.store import Ledger
from mlcore.usecase import load_usecase
from tests.support import churn_rows

ROOT = Path(__file__).parents[2]
USECASES = ROOT / "tests" / "usecases"
FLOWS = {
    "flows/publish.py:publish": publish.publish,
    "flows/retrain.py:retrain": retrain.retrain,
    "flows/validate.py:validate": validation.validate,
    "flows/promote.py:promote": promote.promote,
    "flows/package.py:package": package.package,
    "flows/deploy.py:deploy": deploy.deploy,
    "flows/monitor.py:monitor": monitor.monitor,
    "flows/maintain.py:maintain": maintain.maintain,
}
RETRAIN, PACKAGE, DEPLOY = "flows/retrain.py:retrain", "flows/package.py:package", "flows/deploy.py:deploy"
#: Longer than any lease lasts, and than what was left waits to be woken.
WHILE = 60.0


class Run(Context):
    """A run whose clock can be ahead, and whose sentences no server keeps."""

    ahead = 0.0

    def now(self) -> datetime:
        """The time of the test."""
        return datetime.now(UTC) + timedelta(seconds=Run.ahead)

    async def tell(self, sentence: str, details: str = "") -> None:
        """Print it."""
        print(sentence, details)  # noqa: T201


class World:
    """The installation in `home`, `ahead` seconds in the future; its server keeps the events that are posted."""

    def __init__(self, home: Path, server: str, ahead: float, host: str) -> None:
        Run.ahead = ahead
        self.home, self.server, self.host, self.run, self.asleep = home, server, host, 0, [PACKAGE, DEPLOY]
        os.environ |= {"MLOPS_HOME": str(home), "MLOPS_USECASES": str(USECASES), "PREFECT_API_URL": server}
        usecase = load_usecase(USECASES / "churn")
        search = usecase.training.search.model_copy(update={"trials": 1})
        self.usecase = usecase.model_copy(
            update={
                "training": usecase.training.model_copy(
                    update={"search": search, "candidates": usecase.training.candidates[:1]}
                ),
                "validation": usecase.validation.model_copy(update={"resamples": 100}),
            }
        )
        for module in (publish, retrain, validation, promote, package, deploy, monitor, maintain, rollback, train):
            module.open_context = lambda _: self.open()  # type: ignore[attr-defined]
        train.SearchProgress.begin = classmethod(_no_progress)  # type: ignore[assignment]
        maintain.list_usecases = lambda _: [self.usecase.name]  # type: ignore[attr-defined]
        retrain.train, retrain.validate = _plain(train.train), _plain(validation.validate)  # type: ignore[assignment]

    def open(self) -> Run:
        """Open a run of its own, as a new process would."""
        self.run += 1
        ledger = Ledger.open(f"sqlite:///{self.home / 'ledger.db'}")
        name = f"{self.home.name}-{int(Run.ahead)}-{self.run}"
        settings = Settings(home=self.home, host_url=self.host)
        return Run(settings, self.usecase, ledger, Server(self.server, attempts=1), name)

    def flow(self, entrypoint: str, **parameters: Any) -> str:
        """Run a flow's body."""
        with disable_run_logger():
            return str(asyncio.run(_plain(FLOWS[entrypoint])(**{"usecase": self.usecase.name, **parameters})))

    def publish(self, faulty: bool = False) -> str:
        """Publish by hand."""
        return self.flow("flows/publish.py:publish", uri=self._file(faulty))

    def announce(self, faulty: bool = False) -> None:
        """Announce a file, as an external system does."""
        event = Event(
            events.DATASET_ANNOUNCED, self.usecase.name, "one", datetime.now(UTC), {"uri": self._file(faulty)}
        )
        Server(self.server).post_events([event.to_wire()])

    def _file(self, faulty: bool) -> str:
        path = self.home.parent / f"customers-{faulty}.csv"
        if not path.exists():
            churn_rows(400).assign(**({"calls": -4} if faulty else {})).to_csv(path, index=False)
        return str(path)

    def settle(self, asleep: list[str], flush: bool = False) -> dict[str, Any]:
        """Go on to the loop's rest, with the flows `asleep` that take long and are not what was killed."""
        self.asleep = [*asleep, *([] if self.host else [DEPLOY])]  # where there is no host, nothing is deployed
        self.go_on(flush)
        return self.facts()

    def wake(self, only: str = "") -> int:
        """Start what the automations start for the events that nobody was woken for yet; return how many runs."""
        woken = 0
        client = httpx.Client(base_url=self.server)
        for event in client.post("/unseen").json():
            for entrypoint, parameters in _runs(event):
                if entrypoint in FLOWS and entrypoint not in self.asleep and (not only or entrypoint == only):
                    try:
                        self.flow(entrypoint, **parameters)
                    except MLOpsError as error:
                        print(f"a run failed: {error}")  # noqa: T201
                    woken += 1
        return woken

    def answer(self, reason: str = "good", granted: bool = True) -> str:
        """Answer the pending approval, as the flow and the command do."""
        context = self.open()
        approval = _approval.find(context, "")
        _approval.take(context, approval)
        with disable_run_logger():
            closed = _approval.answer(
                context.ledger,
                context.usecase,
                approval.id,
                granted=granted,
                approver="owner@example.org",
                reason=reason,
                now=context.now(),
                flow_run_id="form",
                attempt=1,
            )
            context.announce()
        return closed.state

    def expire(self) -> None:
        """Let the pending approval's time run out."""
        Run.ahead += 2 * 86400
        self.maintain()

    def maintain(self, flush: bool = False) -> str:
        """Do the housekeeping."""
        return self.flow("flows/maintain.py:maintain", flush=flush)

    def second(self) -> None:
        """Make a copy of version 1 the champion, as if another model had been promoted."""
        context = self.open()
        with context.ledger.transaction() as tx:
            first = tx.get(ModelVersion, usecase=self.usecase.name, version=1)
            champion = registry.alias(tx, self.usecase.name, "champion")
            assert first is not None
            model = registry.register(tx, replace(first, cause="manual", cause_key="second"), context.now())
            registry.promote(
                tx,
                self.usecase.name,
                model.version,
                expected_generation=champion.generation if champion else 0,
                actor="ann",
                reason="second",
                now=context.now(),
            )
            _approval.close_all_over(tx, self.usecase.name, context.now())
        with disable_run_logger():
            context.announce()

    def roll_back(self) -> None:
        """Go back to the previous champion; the service is none of this world's."""
        rollback.deploy = _nothing  # type: ignore[attr-defined]
        with disable_run_logger():
            asyncio.run(_plain(rollback.rollback)(usecase=self.usecase.name, reason="worse", actor="ann"))

    def captured(self, rows: int = 40) -> None:
        """Write rows and labels that a service would have answered and heard of."""
        contract = self.usecase.contract
        folder = self.home / "spool" / self.usecase.name
        folder.mkdir(parents=True, exist_ok=True)
        frame = churn_rows(rows, seed=9, start="2026-03-02").assign(monthly_fee=450.0)
        segment = SegmentWriter(folder)
        for number, row in enumerate(frame.to_dict("records")):
            at = row["seen_at"].isoformat()
            record = prediction_record(
                contract,
                {**row, "seen_at": at},
                row_id=f"r{number}",
                request_id="q",
                received_at=at,
                scored_at=at,
                model_version=1,
                prediction=bool(row["left"]),
                probabilities=[0.5, 0.5],
                hash_key=b"key",
            )
            segment.write([encode(record), encode(label_record(f"r{number}", not row["left"], at))])
        segment.seal()

    def monitor(self) -> str:
        """Diagnose what is closed."""
        return self.flow("flows/monitor.py:monitor")

    def retrain(self) -> str:
        """Decide and carry out."""
        return self.flow("flows/retrain.py:retrain", reason="asked for")

    def resume(self) -> str:
        """Carry out what is requested."""
        return self.flow("flows/retrain.py:retrain", event_id="resume")

    def promote(self) -> str:
        """Promote what is approved."""
        return self.flow("flows/promote.py:promote")

    def deploy(self) -> str:
        """Serve the champion."""
        return self.flow(DEPLOY)

    def package(self) -> str:
        """Package the champion."""
        with disable_run_logger():
            return str(asyncio.run(_plain(package.package)(usecase=self.usecase.name)))

    def go_on(self, flush: bool = False) -> int:
        """Let time pass and the schedule and automations do their work until nothing is left to do."""
        for passed in range(1, 13):
            Run.ahead += WHILE
            self.maintain(flush)
            if not self.wake() and passed > 1:
                return passed
        raise AssertionError("the loop does not come to rest")

    def facts(self) -> dict[str, Any]:
        """Check what must hold in any state; return the state, without ids and times."""
        context = self.open()
        audit.verify(context.ledger)
        now = context.now()
        with context.ledger.read() as view:
            assert not outbox.waiting(view), "an event was never delivered"
            for lease in view.all(Lease):
                assert not leases.is_held(lease, now), "a lease is held for good"
            decisions = view.all(DecisionRecord)
            assert max(Counter(item.cause_key for item in decisions).values(), default=1) == 1, "decided twice"
            causes = Counter((item.event_id) for item in view.all(Wakeup))
            assert max(causes.values(), default=1) == 1
            for alias in view.all(Alias):
                last = view.first(AliasChange, order_by="-generation", usecase=alias.usecase, alias=alias.alias)
                assert last is not None and (last.version, last.generation) == (alias.version, alias.generation)
            for dataset in view.all(DatasetVersion):
                context.datasets.read(dataset.uri, dataset.table_version)
            models = view.all(ModelVersion)
            for model in models:
                assert Path(model.uri.removeprefix("file://")).is_dir(), "a model is registered and not there"
            for bento in view.all(BentoRecord):
                assert Path(bento.path).is_dir()
            if RETRAIN not in self.asleep:
                assert not [item for item in view.all(Retraining) if item.state in ("requested", "running")]
            assert not [item for item in view.all(Revalidation) if item.state == "requested"]
            return {
                "datasets": [(item.version, item.digest) for item in view.all(DatasetVersion)],
                "models": [(item.version, item.digest) for item in models],
                "aliases": sorted((item.alias, item.version) for item in view.all(Alias)),
                "approvals": sorted(item.state for item in view.all(Approval)),
                "windows": sorted((item.id, item.rows, item.labelled, item.state) for item in view.all(Window)),
                "diagnoses": sorted(item.cause for item in view.all(DiagnosisRecord)),
                "decisions": sorted((item.cause, item.action) for item in decisions),
                "retrainings": sorted((item.cause, item.state) for item in view.all(Retraining)),
                "bentos": [item.tag for item in view.all(BentoRecord)],
                "deployments": sorted((item.state, item.model_version) for item in view.all(Deployment)),
            }


async def _no_progress(*_: object) -> Any:
    return lambda *_: None


async def _nothing(**_: object) -> None:
    return None


def _plain(flow: Any) -> Any:
    """Return what a flow runs, which raises the error that it fails with."""

    async def run(**parameters: Any) -> Any:
        result = await flow.fn(**parameters)
        if isinstance(result, State):
            raise result.data
        return result

    return run


@cache
def triggers() -> list[tuple[str, dict[str, Any]]]:
    """Return the entrypoint and the trigger of each automation of prefect.yaml."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [(item["entrypoint"], trigger) for item in deployments for trigger in item.get("triggers", ())]


def _runs(event: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the runs that the automations of prefect.yaml start for `event`."""
    found = []
    for entrypoint, trigger in triggers():
        labels = event["resource"]
        if event["event"] in trigger["expect"] and all(
            fnmatch(labels.get(name, ""), pattern) for name, pattern in trigger["match"].items()
        ):
            parameters = {}
            for name, template in trigger["parameters"].items():
                text = template if isinstance(template, str) else template["template"]
                value = jinja2.Template(text).render(event={**event, "resource": {"id": labels["prefect.resource.id"]}})
                parameters[name] = int(value) if name.endswith("_version") else value
            found.append((entrypoint, parameters))
    return found
