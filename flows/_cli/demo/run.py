"""The demo in five parts; each ends when the ledger says that it happened."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bentos.processes import free_port
from flows._cli.alerts import apply_alerts
from flows._cli.demo.script import Past, at_midnight
from flows._cli.demo.story import Story
from flows._cli.demo.traffic import Application, Counter, mailbox, steady
from flows._cli.demo.watch import Watch
from flows._cli.processes import stop_leftovers
from flows._cli.stack import Stack
from mlcore import events, registry
from mlcore.events import Event
from mlcore.ledger.records import (
    Approval,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    QuarantinedBatch,
    Wakeup,
)
from mlcore.ledger.store import Ledger

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.ledger.store import View

_OWNER_BLOCK = "custom-webhook/demo-owner"
_USECASES = Path("usecases")


def run(usecase: str, *, home: Path, keep: bool, ask: bool) -> None:
    """Run the demo of `usecase` and leave ``summary.json`` and ``report.html`` in `home`.

    Raises
    ------
    MLOpsError
        If one of the five parts did not happen.
    """
    past = Past(_USECASES / usecase)
    console = Console(soft_wrap=True)
    # a demo begins with nothing, also when the last one was killed half way
    stop_leftovers(home.resolve())
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    ledger = Ledger.open(f"sqlite:///{home.resolve() / 'ledger.db'}")
    stack = Stack(home, server_port=free_port(), host_port=free_port(), usecases=_USECASES)
    watch = Watch(stack, ledger, console)
    stack.progress = watch.say
    with mailbox() as (address, alerts), stack:
        demo = Demo(past, stack, watch, address, alerts)
        demo.play(ask=ask)
        Story(demo.past, stack, ledger, demo.facts()).tell(console, home, seconds=watch.seconds)
        if keep:
            console.print(f"\nEverything keeps running. UI {stack.ui_url}  service {stack.host_url}/{usecase}/predict")
            console.print("Ctrl-C stops it.")
            while True:
                stack.mend()
                time.sleep(1)


class Demo:
    """The world outside of the loop: announces, sends, tells the truth later, answers the form."""

    def __init__(self, past: Past, stack: Stack, watch: Watch, address: str, alerts: list[dict[str, str]]) -> None:
        self.past = past
        self.stack = stack
        self.watch = watch
        self.alerts = alerts
        self.counter = Counter()
        self.application = Application(f"{stack.host_url}/{past.usecase.name}", past.usecase.contract, self.counter)
        self.storm: list[str] = []
        self.row_id = ""
        self.fault_window = ""
        self.approval_id = ""
        self._owner(address)

    @property
    def name(self) -> str:
        """The use case's name."""
        return self.past.usecase.name

    def play(self, *, ask: bool) -> None:
        """Play the five parts in order."""
        self._first_model()
        self._traffic()
        self._approval(ask=ask)
        self._fault_day()
        self._broken_dataset()
        self._storm_is_over()

    def facts(self) -> dict[str, Any]:
        """Return what the ledger cannot know."""
        return {
            "requests": {
                "sent": self.counter.sent,
                "failed": self.counter.failed,
                "problems": self.counter.problems[:5],
            },
            "storm_events": self.storm,
            "alerts": [alert["subject"] for alert in self.alerts],
            "row_id": self.row_id,
            "fault_window": self.fault_window,
            "approval_id": self.approval_id,
        }

    def _first_model(self) -> None:
        self.watch.say("[bold]1[/bold] announcing the history in one event; nothing else is done by hand")
        history = self.past.script.history
        self._announce(self.past.between(history.from_, history.to), "history")
        self.watch.until("the publication", lambda view: _version(view, self.name))
        self.watch.say("  published, checked and cleaned; candidates are being trained")
        self.watch.until("a champion", lambda view: registry.alias(view, self.name, "champion"))
        self.watch.say("  promoted; being packaged and deployed")
        self.watch.until("a serving model", lambda view: self._serving(view, 1))
        self.watch.say(f"  serving at {self.stack.host_url}/{self.name}/predict")

    def _traffic(self) -> None:
        span = self.past.script.traffic
        self.watch.say(f"[bold]2[/bold] sending the traffic of {span.from_} to {span.to}, true values a day later")
        told: list[tuple[list[str], pd.DataFrame]] = []
        day = span.from_
        while day < span.to:
            rows = self.past.between(day, day + timedelta(days=1))
            asked = self._hour_by_hour(rows)
            self.row_id = self.row_id or asked[0][0][0]
            for ids, truths in told:
                self.application.tell(ids, truths)
            told, day = asked, day + timedelta(days=1)
        for ids, truths in told:
            self.application.tell(ids, truths)
        self.watch.say(f"  {self.counter.sent:,} requests sent; waiting for the windows to close")
        window = self.watch.until("a harmful drift", self._harmful)
        self.watch.say(f"  drift with harm in {window.window_id}: {window.sentence}")
        self._storm(window.window_id)
        decision = self.watch.until("a retraining", lambda view: self._decided(view, window.window_id))
        self.watch.say(f"  decided: {decision.action}. {decision.sentence}")

    def _storm(self, window_id: str) -> None:
        count = self.past.script.storm_events
        self.watch.say(f"[bold]5[/bold] at the same moment a storm: {count} more drift events for that window")
        bodies = []
        for _ in range(count):
            now = datetime.now(UTC)
            event = Event(
                events.DRIFT_DETECTED, self.name, key=str(uuid.uuid4()), occurred=now, payload={"window_id": window_id}
            )
            bodies.append(event.to_wire())
        self.storm = [body["id"] for body in bodies]
        for start in range(0, count, 20):
            self.stack.server.post_events(bodies[start : start + 20])

    def _approval(self, *, ask: bool) -> None:
        self.watch.say("[bold]3[/bold] waiting for the challenger; its policy wants a person for drift")
        approval = self.watch.until("a question to a person", self._asked)
        self.approval_id = approval.id
        self._until_suspended(approval.flow_run_id)
        link = f"{self.stack.ui_url}/runs/flow-run/{approval.flow_run_id}"
        if ask:
            self.watch.say(f"  [bold]your turn[/bold]: approve or reject at {link}")
        else:
            self.watch.say(f"  suspended, no worker is held: {link}")
            answer = self.past.script.answer
            form = {"decision": "approve", "approver": answer.approver, "reason": answer.reason}
            self.stack.server.resume(approval.flow_run_id, form)
            self.watch.say(f"  answered by {answer.approver}, through the call that the UI makes")
        rows = self.past.between(self.past.script.traffic.from_, self.past.script.traffic.to).head(4)
        with steady(self.application, rows):
            before = self.counter.failed
            seconds = 86_400.0 if ask else 300.0
            answered = self.watch.until("an answer", lambda view: _answered(view, approval.id), seconds=seconds)
            if answered.state != "granted":
                self.watch.say("  rejected: the champion stays, and the demo ends its third part here")
                return
            self.watch.until("the new version", lambda view: self._serving(view, approval.model_version))
            time.sleep(2)
        self.watch.say(
            f"  version {approval.model_version} serves; requests failed meanwhile: {self.counter.failed - before}"
        )

    def _fault_day(self) -> None:
        fault = self.past.script.fault
        self.watch.say(f"[bold]4[/bold] {fault.day} arrives with a faulty sensor")
        rows = self.past.between(fault.day, fault.day + timedelta(days=1))
        self._hour_by_hour(self.past.spoiled(rows, fault))
        self.application.ask(self.past.between(fault.day + timedelta(days=1), fault.day + timedelta(days=2)).head(1))
        window = f"{self.name}/daily/{at_midnight(fault.day):%Y-%m-%dT%H}"
        found = self.watch.until("a diagnosis of that day", lambda view: view.first(DiagnosisRecord, window_id=window))
        self.fault_window = window
        decision = self.watch.until("a decision about that day", lambda view: self._decided(view, window))
        self.watch.say(f"  {found.cause}: {found.sentence}")
        self.watch.say(f"  decided: {decision.action}")
        self.watch.until("an alert to the owner", lambda _: next(iter(self._fault_alerts()), None))
        self.watch.say(f"  the owner was told: {self._fault_alerts()[0]['subject']}")

    def _broken_dataset(self) -> None:
        broken = self.past.script.broken
        self.watch.say("  a broken dataset is announced")
        self._announce(self.past.spoiled(self.past.between(broken.from_, broken.to), broken), "broken")
        batch = self.watch.until("a quarantine", lambda view: view.first(QuarantinedBatch, usecase=self.name))
        self.watch.say(f"  quarantined: {'; '.join(batch.reasons)}")

    def _storm_is_over(self) -> None:
        self.watch.until(
            "a row for every event of the storm",
            lambda view: True if all(view.get(Wakeup, event_id=event_id) for event_id in self.storm) else None,
            seconds=150,
        )
        self.watch.say("  every event of the storm has a row in the ledger that says why it was ignored")

    def _hour_by_hour(self, rows: pd.DataFrame) -> list[tuple[list[str], pd.DataFrame]]:
        asked = []
        for start in range(0, len(rows), 6):
            part = rows.iloc[start : start + 6]
            ids = self.application.ask(part)
            if ids:
                asked.append((ids, part))
        return asked

    def _announce(self, rows: pd.DataFrame, name: str) -> None:
        inbox = self.stack.home.resolve() / "inbox"
        inbox.mkdir(exist_ok=True)
        path = inbox / f"{name}.csv"
        rows.to_csv(path, index=False)
        event = Event(
            events.DATASET_ANNOUNCED, self.name, key=name, occurred=datetime.now(UTC), payload={"uri": str(path)}
        )
        self.stack.server.post_events([event.to_wire()])

    def _owner(self, address: str) -> None:
        """Give the owner a mailbox: any Prefect notification block would do, this one posts to an address."""
        os.environ.update(self.stack.variables)
        from prefect.blocks.notifications import CustomWebhookNotificationBlock

        CustomWebhookNotificationBlock(
            name="owner", url=address, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save(_OWNER_BLOCK.partition("/")[2], overwrite=True)
        apply_alerts(self.stack.server, [self.past.usecase], (_OWNER_BLOCK,))

    def _fault_alerts(self) -> list[dict[str, str]]:
        return [alert for alert in self.alerts if "faulty" in alert["subject"]]

    def _until_suspended(self, run_id: str) -> None:
        deadline = time.monotonic() + 60
        while self.stack.server.flow_run(run_id)["state"]["name"] != "Suspended" and time.monotonic() < deadline:
            time.sleep(0.3)

    def _serving(self, view: View, version: int) -> Deployment | None:
        return view.first(Deployment, usecase=self.name, model_version=version, state="serving")

    def _harmful(self, view: View) -> DiagnosisRecord | None:
        return view.first(DiagnosisRecord, usecase=self.name, cause="harmful_shift")

    def _decided(self, view: View, window_id: str) -> DecisionRecord | None:
        return view.first(DecisionRecord, usecase=self.name, cause_key=f"window:{window_id}")

    def _asked(self, view: View) -> Approval | None:
        approval = view.first(Approval, usecase=self.name, state="pending")
        return approval if approval is not None and approval.flow_run_id else None


def _version(view: View, usecase: str) -> DatasetVersion | None:
    return view.first(DatasetVersion, usecase=usecase)


def _answered(view: View, approval_id: str) -> Approval | None:
    approval = view.get(Approval, id=approval_id)
    return approval if approval is not None and approval.state != "pending" else None
