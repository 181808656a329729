"""What the commands do; each returns the facts for --json and the text for a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows._server import Server
from flows.settings import Settings, settings
from mlcore.errors import ApprovalError, MLOpsError, RegistryError, ServerError, UseCaseError
from mlcore.ledger import audit
from mlcore.ledger.audit import AuditHead
from mlcore.ledger.outbox import waiting
from mlcore.ledger.records import (
    Alias,
    Approval,
    AuditEntry,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    Evaluation,
    ModelVersion,
    Retraining,
    Window,
)
from mlcore.ledger.store import Ledger
from mlcore.usecase import UseCase, list_usecases, load_usecase

if TYPE_CHECKING:
    from mlcore.ledger.store import View

Answer = tuple[Any, str]
_FOLLOW_SECONDS = 3600.0
_DONE = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def run_deployment(flow: str, **parameters: Any) -> Answer:
    """Run ``<flow>/default`` on the server and wait until it is done.

    Raises
    ------
    ServerError
        If the server does not answer, or the run fails; the message is the run's own.
    """
    here = settings()
    _load(here, parameters["usecase"])
    server = Server.of(here)
    run = server.run_deployment(f"{flow}/default", parameters)
    until = time.monotonic() + _FOLLOW_SECONDS
    while run["state"]["type"] not in _DONE:
        if time.monotonic() > until:
            raise ServerError(
                "the run takes too long", subject=run["name"], remedy="Is a worker running? `mlops doctor`"
            )
        time.sleep(0.5)
        run = server.flow_run(run["id"])
    link = f"{here.ui_url}/runs/flow-run/{run['id']}"
    if run["state"]["type"] != "COMPLETED":
        raise ServerError(f"{flow} failed", subject=link, got=run["state"].get("message") or run["state"]["name"])
    sentence = server.sentence_of(run["id"])
    return {"flow_run_id": run["id"], "sentence": sentence, "link": link}, f"{sentence}\n{link}"


def init(source: str, *, name: str, target: str, time: str | None, owner: str) -> Answer:
    """Write a use case from a file."""
    from mlcore.data.infer import infer_usecase, write_usecase

    root = settings().usecases
    path = write_usecase(infer_usecase(source, name=name, target=target, time=time, owner=owner), root / name, source)
    usecase = load_usecase(root / name)
    text = (
        f"{path}: {len(usecase.contract.columns)} columns, {usecase.contract.task} of {target}.\n"
        f"Read it, correct it, then: mlops publish {name} {source}"
    )
    return {"path": str(path), "task": usecase.contract.task, "columns": list(usecase.contract.names)}, text


def status(usecase: str) -> Answer:
    """Return how things are."""
    here = settings()
    names = [usecase] if usecase else list_usecases(here.usecases)
    ledger = _ledger(here)
    facts: list[dict[str, Any]] = []
    with ledger.read() as view:
        facts = [_status_of(view, _load(here, name)) for name in names]
        stuck = [entry for entry in waiting(view) if entry.attempts > 0]
    lines = [line for item in facts for line in _status_lines(item)]
    lines += [f"outbox: {entry.event} of {entry.usecase} waits: {entry.last_error}" for entry in stuck]
    return {"usecases": facts, "stuck_events": [asdict(entry) for entry in stuck]}, "\n".join(lines)


def models(usecase: str, version: int | None) -> Answer:
    """Return the model versions of a use case, or one in full."""
    here = settings()
    name = _load(here, usecase).name
    with _ledger(here).read() as view:
        found = view.all(ModelVersion, order_by="version", usecase=name)
        aliases = view.all(Alias, usecase=name)
        evaluations = view.all(Evaluation, order_by="created_at", usecase=name)
    named = {item.version: [a.alias for a in aliases if a.version == item.version] for item in found}
    if version is not None:
        model = next((item for item in found if item.version == version), None)
        if model is None:
            raise RegistryError("no such model version", subject=f"{name} {version}", remedy=f"`mlops models {name}`")
        judged = [asdict(item) for item in evaluations if item.model_version == version]
        facts = {**asdict(model), "aliases": named[version], "evaluations": judged}
        lines = [f"{key:<16} {facts[key]}" for key in ("version", "aliases", "algorithm", "digest", "dataset_version")]
        lines += [
            f"{key:<16} {facts[key]}" for key in ("code_commit", "lock_digest", "seed", "parameters", "cause_key")
        ]
        return facts, "\n".join(lines + [f"{item['verdict']:<16} {item['sentence']}" for item in judged])
    rows = [
        f"{item.version:>4}  {item.created_at:%Y-%m-%d %H:%M}  {item.algorithm:<20} {item.cause:<8} "
        f"{', '.join(named[item.version])}"
        for item in found
    ]
    return [{**asdict(item), "aliases": named[item.version]} for item in found], "\n".join(rows) or "No model yet."


def answer(approval_id: str, *, decision: str, approver: str, reason: str) -> Answer:
    """Answer an approval by the call that the UI makes, and wait until the answer is taken.

    Raises
    ------
    ApprovalError
        If nothing waits, or the answer is refused: the question stays open then.
    """
    here = settings()
    ledger = _ledger(here)
    approval = _open_approval(ledger, approval_id)
    usecase = _load(here, approval.usecase)
    if approver.strip().lower() not in {address.lower() for address in usecase.approval.approvers}:
        raise ApprovalError(
            "this person may not approve", subject=approver, expected=f"one of {', '.join(usecase.approval.approvers)}"
        )
    Server.of(here).resume(approval.flow_run_id, {"decision": decision, "approver": approver, "reason": reason})
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with ledger.read() as view:
            now = view.get(Approval, id=approval.id)
        if now is not None and now.state != "pending":
            return asdict(now), f"Version {now.model_version} of {now.usecase} was {now.state} by {now.approver}."
        time.sleep(0.5)
    raise ApprovalError("the answer was sent and is not taken yet", subject=approval.id, remedy="Is a worker running?")


def audit_verify(head: str) -> Answer:
    """Check the chain, against an exported head (``<sequence>:<hash>``) where one is given."""
    ledger = _ledger(settings())
    known = None
    if head:
        sequence, _, digest = head.partition(":")
        if not sequence.isdigit() or not digest:
            raise MLOpsError("this is no head", expected="<sequence>:<hash>", got=head)
        known = AuditHead(int(sequence), digest)
    found = audit.verify(ledger, known)
    text = (
        f"{found.sequence:,} entries, all as they were written. Keep this head elsewhere: {found.sequence}:{found.hash}"
    )
    return asdict(found), text


def audit_show(usecase: str, action: str, limit: int) -> Answer:
    """Return the newest entries, oldest first."""
    wanted = {name: value for name, value in (("usecase", usecase), ("action", action)) if value}
    with _ledger(settings()).read() as view:
        entries = view.all(AuditEntry, order_by="-sequence", limit=limit, **wanted)[::-1]
    lines = [
        f"{item.sequence:>6}  {item.at:%Y-%m-%d %H:%M:%S}  {item.action:<20} {item.subject}  {item.actor}"
        for item in entries
    ]
    return [asdict(item) for item in entries], "\n".join(lines) or "No entry."


def trace(identifier: str) -> Answer:
    """Return everything behind an id."""
    from mlcore.capture.store import CaptureStore
    from mlcore.ledger.trace import trace as follow

    here = settings()

    def find(row_id: str) -> Any:
        for name in list_usecases(here.usecases):
            row = CaptureStore(here.lake_root, name, _load(here, name).contract).find(row_id)
            if row is not None:
                return name, row
        return None

    with _ledger(here).read() as view:
        found = follow(view, identifier, find)
    lines = [f"{step.at:%Y-%m-%d %H:%M:%S}  {step.kind:<11} {step.sentence}" for step in found.steps]
    return asdict(found), "\n".join(lines)


def backtest(usecase: str, data: str) -> Answer:
    """Replay past data and compare policies."""
    from mlcore.backtest import replay
    from mlcore.data.ingest import read_source
    from mlcore.report.backtest import write_backtest_page

    here = settings()
    found = _load(here, usecase)
    if data:
        past = read_source(data, found.contract)
    else:
        from mlcore.data.datasets import DatasetStore

        with _ledger(here).read() as view:
            dataset = view.first(DatasetVersion, order_by="-version", usecase=found.name)
        if dataset is None:
            raise UseCaseError("nothing to replay", subject=found.name, remedy="Name a file with --data.")
        past = DatasetStore(here.lake_root).read(dataset.uri, dataset.table_version)
    result = replay(past.to_pandas(), found, seed=found.training.search.seed)
    page = write_backtest_page(result, here.root / "backtests" / f"{found.name}.html")
    lines = [result.sentence, ""] + [
        f"{item.strategy:<12} {result.metric} {item.error:8.4g}   "
        f"retrainings {item.retrainings:3d}   alarms {item.alarms:3d}"
        for item in result.summaries
    ]
    return {**result.to_json(), "page": str(page)}, "\n".join([*lines, "", str(page)])


def doctor() -> Answer:
    """Check everything that must be there."""
    here = settings()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("use cases", lambda: ", ".join(_load(here, name).name for name in list_usecases(here.usecases)) or "none"),
        (
            "ledger",
            lambda: f"{here.ledger.rpartition('@')[2]}: {audit.verify(_ledger(here)).sequence} audit entries",
        ),
        ("server", lambda: _server_check(here)),
        ("host", lambda: _host_check(here)),
    ]
    facts = []
    for name, check in checks:
        try:
            facts.append({"part": name, "healthy": True, "found": check()})
        except MLOpsError as error:
            facts.append({"part": name, "healthy": False, "found": str(error)})
    lines = [f"{'ok ' if item['healthy'] else 'BAD'}  {item['part']:<10} {item['found']}" for item in facts]
    return {"healthy": all(item["healthy"] for item in facts), "checks": facts}, "\n".join(lines)


def _status_of(view: View, usecase: UseCase) -> dict[str, Any]:
    name = usecase.name
    champion = view.get(Alias, usecase=name, alias="champion")
    serving = view.first(Deployment, order_by="-changed_at", usecase=name, state="serving")
    dataset = view.first(DatasetVersion, order_by="-version", usecase=name)
    decision = view.first(DecisionRecord, order_by="-created_at", usecase=name)
    running = view.first(Retraining, order_by="-requested_at", usecase=name, state="running")
    windows = view.all(Window, order_by="-closed_at", limit=1, usecase=name)
    return {
        "usecase": name,
        "owner": usecase.owner.email,
        "champion": champion.version if champion else None,
        "serving": {"version": serving.model_version, "url": serving.url} if serving else None,
        "dataset": {"version": dataset.version, "rows": dataset.rows} if dataset else None,
        "last_decision": {"action": decision.action, "sentence": decision.sentence} if decision else None,
        "last_window": windows[0].id if windows else None,
        "retraining": running.cause_key if running else None,
        "waiting": [asdict(item) for item in view.all(Approval, usecase=name, state="pending")],
    }


def _status_lines(facts: dict[str, Any]) -> list[str]:
    serving, dataset, decision = facts["serving"], facts["dataset"], facts["last_decision"]
    lines = [
        f"{facts['usecase']}  (owner {facts['owner']})",
        f"  champion   {facts['champion'] or 'none yet'}",
        f"  serving    {'version {version} at {url}'.format(**serving) if serving else 'nothing'}",
        f"  data       {'version {version}, {rows:,} rows'.format(**dataset) if dataset else 'none yet'}",
    ]
    lines += [f"  decided    {decision['action']}: {decision['sentence']}"] if decision else []
    lines += [f"  running    a retraining for {facts['retraining']}"] if facts["retraining"] else []
    lines += [
        f"  WAITING    {item['id']}: version {item['model_version']}, answer by {item['expires_at']:%Y-%m-%d %H:%M} UTC"
        for item in facts["waiting"]
    ]
    return lines


def _open_approval(ledger: Ledger, approval_id: str) -> Approval:
    with ledger.read() as view:
        if approval_id:
            approval = view.get(Approval, id=approval_id)
        else:
            approval = view.first(Approval, order_by="-requested_at", state="pending")
    if approval is None or approval.state != "pending" or not approval.flow_run_id:
        raise ApprovalError(
            "nothing waits for an answer",
            subject=approval_id,
            got=f"it is {approval.state}" if approval and approval.state != "pending" else "no suspended run",
            remedy="`mlops status` lists what is waiting.",
        )
    return approval


def _ledger(here: Settings) -> Ledger:
    if here.ledger.startswith("sqlite:///") and not Path(here.ledger.removeprefix("sqlite:///")).is_file():
        raise ServerError(
            "there is no installation here",
            subject=str(here.root),
            remedy="`make up` makes one; MLOPS_HOME says where to look.",
        )
    return Ledger.open(here.ledger)


def _load(here: Settings, name: str) -> UseCase:
    return load_usecase(here.usecases / name)


def _server_check(here: Settings) -> str:
    server = Server(here.api_url, here.api_auth, attempts=1)
    count = len(server.deployments())
    return f"{here.api_url}: {count} deployments"


def _host_check(here: Settings) -> str:
    from bentos.targets.local import LocalTarget

    target = LocalTarget.at(here.host_url, here.host_state)
    serving = {name: target.status(name) for name in list_usecases(here.usecases)}
    told = ", ".join(f"{name} version {item.model_version}" for name, item in serving.items() if item)
    return f"{here.host_url}: {told or 'serves nothing yet'}"
