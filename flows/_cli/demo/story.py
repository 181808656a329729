"""What the demo has shown, read from the ledger and the server: a table, a page, and summary.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from flows._cli.demo.script import Past, at_midnight
from mlcore.errors import ServerError
from mlcore.ledger import audit
from mlcore.ledger.graph import Trace
from mlcore.ledger.records import (
    AliasChange,
    Approval,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    ModelVersion,
    QuarantinedBatch,
    Retraining,
    Wakeup,
)
from mlcore.ledger.trace import trace
from mlcore.report.charts import Bar, Mark, Point, Span
from mlcore.report.loop import ApprovalLine, DecisionLine, LoopFacts, TraceLine, write_loop_page

if TYPE_CHECKING:
    from rich.console import Console

    from flows._cli.stack import Stack
    from mlcore.ledger.store import Ledger
    from mlcore.modelstore import LoadedModel

#: Metrics that are measured in what the target is measured in.
_IN_UNITS_OF_TARGET: Final = frozenset({"mean_absolute_error", "root_mean_squared_error"})


class Story:
    """Reads what happened; knows nothing that the ledger and the server do not."""

    def __init__(self, past: Past, stack: Stack, ledger: Ledger, outside: dict[str, Any]) -> None:
        self.past = past
        self.stack = stack
        self.ledger = ledger
        self.outside = outside
        self.name = past.usecase.name
        with ledger.read() as view:
            self.models = view.all(ModelVersion, order_by="version", usecase=self.name)
            self.promotions = view.all(AliasChange, order_by="generation", usecase=self.name, alias="champion")
            self.decisions = view.all(DecisionRecord, order_by="created_at", usecase=self.name)
            self.retrainings = view.all(Retraining, order_by="requested_at", usecase=self.name)
            self.diagnoses = view.all(DiagnosisRecord, order_by="created_at", usecase=self.name)
            self.wakeups = view.all(Wakeup, order_by="received_at", usecase=self.name)
            self.quarantine = view.all(QuarantinedBatch, order_by="created_at", usecase=self.name)
            self.approvals = view.all(Approval, order_by="requested_at", usecase=self.name)
            self.deployments = view.all(Deployment, order_by="created_at", usecase=self.name)
        self.runs = sorted(
            (
                run
                for run in stack.server.find_flow_runs()
                if run.get("start_time") and not run.get("parent_task_run_id")
            ),
            key=lambda run: run["start_time"],
        )

    def tell(self, console: Console, home: Path, *, seconds: float) -> None:
        """Print the timeline, write the page and the summary.

        Raises
        ------
        ServerError
            If one of the demo's parts did not happen: the summary says which.
        """
        summary = self.summary(seconds)
        chain = self._trace()
        report = write_loop_page(self._page(summary, chain), home / "report.html")
        (home / "summary.json").write_text(json.dumps(summary, indent=2, default=str) + "\n", encoding="utf-8")
        console.print()
        for line in self._timeline():
            console.print(line, highlight=False)
        console.print(f"\n[bold]Behind the answer {self.outside['row_id']}[/bold] (`mlops trace`)")
        for step in chain.steps:
            console.print(f"  {step.kind:<11} {step.sentence}", highlight=False)
        console.print(
            f"\n{summary['metric']} on {summary['test_rows']:,} rows of {summary['test_span']}: "
            f"[bold]{summary['mae_old']:.1f}[/bold] by version {summary['versions'][0]['version']}, "
            f"[bold]{summary['mae_new']:.1f}[/bold] by version {summary['versions'][-1]['version']}"
        )
        console.print(f"report   {report}\nsummary  {home / 'summary.json'}\nseconds  {seconds:.0f}")
        missing = [part for part, happened in summary["parts"].items() if not happened]
        if missing:
            raise ServerError(
                "the demo is not complete", subject=", ".join(missing), remedy=f"See {home}/summary.json."
            )

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the documented facts of summary.json."""
        errors = self._errors()
        storm = [item for item in self.wakeups if item.event_id in set(self.outside["storm_events"])]
        drift_window = self._retrained_window()
        fault = next((item for item in self.diagnoses if item.window_id == self.outside["fault_window"]), None)
        drift_retrainings = [item for item in self.retrainings if item.cause == "drift"]
        summary: dict[str, Any] = {
            "format": 1,
            "usecase": self.name,
            "versions": [
                {"version": model.version, "digest": model.digest, "algorithm": model.algorithm, "cause": model.cause}
                for model in self.models
            ],
            "promotions": [
                {"version": item.version, "generation": item.generation, "by": item.actor, "reason": item.reason}
                for item in self.promotions
            ],
            "retrainings": [
                {"cause": item.cause, "cause_key": item.cause_key, "state": item.state, "version": item.model_version}
                for item in self.retrainings
            ],
            "events_sent": len(self.outside["storm_events"]),
            "events_ignored": sum(item.outcome == "ignored" for item in storm),
            "ignored_because": dict(Counter(item.reason for item in storm if item.outcome == "ignored")),
            "requests": self.outside["requests"],
            "metric": self._metric().name,
            "mae_old": errors[0],
            "mae_new": errors[1],
            "test_rows": len(self._test_rows()),
            "test_span": f"{self.past.script.test.from_} to {self.past.script.test.to}",
            "approval": [
                {"state": item.state, "approver": item.approver, "reason": item.reason, "flow_run": item.flow_run_id}
                for item in self.approvals
            ],
            "quarantine": [{"source": item.source, "reasons": list(item.reasons)} for item in self.quarantine],
            "fault_day": {"window": fault.window_id, "cause": fault.cause, "sentence": fault.sentence}
            if fault
            else None,
            "alerts": self.outside["alerts"],
            "prediction": self.outside["row_id"],
            "audit_entries": audit.verify(self.ledger).rows,
            "seconds": round(seconds, 1),
        }
        of_fault = [item for item in self.retrainings if item.cause_key.endswith(self.outside["fault_window"])]
        summary["parts"] = {
            "1 first model by events alone": bool(self.deployments) and self.models[0].cause == "dataset",
            "2 drift with harm retrained": drift_window is not None and len(drift_retrainings) == 1,
            "3 a person was asked, no request failed": bool(self.approvals)
            and self.approvals[0].state in ("granted", "denied")
            and self.outside["requests"]["failed"] == 0,
            "4 fault day and broken data kept out": fault is not None
            and fault.cause == "data_fault"
            and not of_fault
            and bool(self.quarantine),
            "5 the storm started nothing twice": len(storm) == len(self.outside["storm_events"])
            and sum(item.cause_key == f"window:{drift_window}" for item in self.retrainings) == 1,
        }
        return summary

    def _retrained_window(self) -> str | None:
        keys = [item.cause_key for item in self.retrainings if item.cause == "drift"]
        return keys[0].removeprefix("window:") if keys else None

    def _metric(self) -> Any:
        from mlcore.metrics import metric_named

        return metric_named(self.past.usecase.validation.metric, self.past.usecase.contract.task)

    def _test_rows(self) -> Any:
        return self.past.between(self.past.script.test.from_, self.past.script.test.to)

    def _errors(self) -> tuple[float, float]:
        from mlcore.training.splits import target_values

        rows = self._test_rows()
        truth = target_values(rows, self.past.usecase.contract)
        old, new = self._load(self.models[0]), self._load(self.models[-1])
        return tuple(float(self._metric().value(truth, model.output(rows))) for model in (old, new))  # type: ignore[return-value]

    def _load(self, model: ModelVersion) -> LoadedModel:
        from mlcore.modelstore import load_model

        return load_model(model.uri, model.digest)

    def _trace(self) -> Trace:
        from mlcore.capture.store import CaptureStore

        store = CaptureStore(str(self.stack.home.resolve() / "lake"), self.name, self.past.usecase.contract)

        def find(row_id: str) -> Any:
            row = store.find(row_id)
            return None if row is None else (self.name, row)

        with self.ledger.read() as view:
            return trace(view, self.outside["row_id"], find)

    def _timeline(self) -> Iterator[str]:
        yield "[bold]What ran[/bold]: when, for how long, what, started by which automation"
        for run in self.runs:
            began = datetime.fromisoformat(run["start_time"])
            yield (
                f"  {began:%H:%M:%S} {run['total_run_time']:6.1f} s  {run['name']:<28} {run['state']['name']:<10} "
                f"{_cause(run):<44} {self.stack.ui_url}/runs/flow-run/{run['id']}"
            )

    def _page(self, summary: dict[str, Any], chain: Trace) -> LoopFacts:
        requests = summary["requests"]
        better = 1 - summary["mae_new"] / summary["mae_old"]
        metric, fault = summary["metric"].replace("_", " "), summary["fault_day"]
        return LoopFacts(
            title=f"{self.past.usecase.title}: the loop",
            lead=f"From the first data to a retrained model in {summary['seconds']:.0f} seconds; its error on "
            f"{summary['test_span']} is {better:.0%} lower than that of the model it replaced.",
            figures=[
                (f"{summary['mae_old']:.1f}", f"{metric} before"),
                (f"{summary['mae_new']:.1f}", f"{metric} after"),
                (str(sum(item.cause == "drift" for item in self.retrainings)), "retraining for drift"),
                (f"{requests['sent']:,}", f"requests, {requests['failed']} failed"),
                (str(summary["events_ignored"]), f"of {summary['events_sent']} storm events ignored"),
                (f"{summary['audit_entries']:,}", "audit entries, chain verified"),
            ],
            spans=[
                Span(
                    lane=run["name"].removesuffix(f"-{self.name}"),
                    name=run["name"],
                    started=datetime.fromisoformat(run["start_time"]),
                    finished=datetime.fromisoformat(run["end_time"] or run["start_time"]),
                    cause=_cause(run),
                    state=_state(run),
                )
                for run in self.runs
            ],
            errors=self._daily_errors(),
            metric=summary["metric"],
            marks=[Mark(at_midnight(self.past.script.traffic.to), "retrained, approved, deployed")],
            drift=[
                Bar(item.window_id.rsplit("/", 1)[1][:10], column["name"], column["psi"])
                for item in self.diagnoses
                if item.report.get("drift")
                for column in item.report["drift"]["columns"]
            ],
            drift_threshold=self.past.usecase.monitoring.drift.minimum_effect,
            decisions=list(self._decisions()),
            ignored=sorted(
                Counter(item.reason for item in self.wakeups if item.outcome == "ignored").items(), key=lambda x: -x[1]
            ),
            quarantined=[(item.source, "; ".join(item.reasons)) for item in self.quarantine],
            trace_id=self.outside["row_id"],
            trace=[TraceLine(step.kind, step.at, step.sentence) for step in chain.steps],
            unit=self.past.usecase.contract.target.unit if summary["metric"] in _IN_UNITS_OF_TARGET else "",
            approvals=[
                ApprovalLine(item.model_version, item.state, item.approver, item.reason) for item in self.approvals
            ],
            fault=f"{fault['window']}: {fault['sentence']}." if fault else "",
            storm=f"{summary['events_sent']} drift events were sent for one window; {summary['events_ignored']} were "
            "ignored, each with its reason on record.",
        )

    def _decisions(self) -> Iterator[DecisionLine]:
        """Yield every decision to do something; windows in which nothing was wrong are counted, not listed."""
        quiet = [item for item in self.decisions if item.action == "nothing"]
        for item in self.decisions:
            if item.action != "nothing":
                yield DecisionLine(item.created_at, item.cause_key, item.action, item.sentence)
        if quiet:
            told = "Nothing to do: each has its own row, with its evidence, in the ledger."
            yield DecisionLine(quiet[-1].created_at, f"{len(quiet)} other windows", "nothing", told)

    def _daily_errors(self) -> list[Point]:
        from mlcore.metrics import Output
        from mlcore.training.splits import target_values

        rows = self.past.between(self.past.script.traffic.from_, self.past.script.test.to)
        truth = target_values(rows, self.past.usecase.contract)
        days = rows[self.past.time].dt.floor("D")
        points = []
        for model in (self.models[0], self.models[-1]):
            output: Output = self._load(model).output(rows)
            for day in sorted(days.unique()):
                if model is not self.models[0] and day.date() < self.past.script.traffic.to:
                    continue
                members = (days == day).to_numpy()
                value = float(self._metric().value(truth[members], output.take(members)))
                points.append(Point(f"version {model.version}", day.to_pydatetime(), value))
        return points


def _cause(run: dict[str, Any]) -> str:
    created_by = run.get("created_by") or {}
    if created_by.get("type") == "AUTOMATION":
        return str(created_by.get("display_value") or "automation")
    return {"SCHEDULE": "its schedule"}.get(created_by.get("type", ""), "by hand")


def _state(run: dict[str, Any]) -> Literal["completed", "waiting", "failed"]:
    if run["state"]["type"] in ("FAILED", "CRASHED", "CANCELLED"):
        return "failed"
    # an approval's run holds no worker while a person thinks
    return "waiting" if run["name"].startswith("approve") else "completed"
