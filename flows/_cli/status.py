"""`mlops status` and `mlops doctor`: how things are, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows._cli.alerts import apply_alerts, blocks_of, check_alerts
from flows._cli.apply import POOL, PROJECT
from flows._cli.installation import Answer, load, open_ledger
from flows._cli.lint import read
from flows._server import Server
from flows.settings import Settings, settings
from mlcore.errors import MLOpsError, ServerError
from mlcore.ledger import audit
from mlcore.ledger.outbox import stuck, waiting
from mlcore.ledger.records import (
    Alias,
    Approval,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Evaluation,
    Retraining,
    Window,
)
from mlcore.ledger.store import Ledger
from mlcore.usecase import UseCase, list_usecases

if TYPE_CHECKING:
    from mlcore.ledger.store import View


def status(usecase: str) -> Answer:
    """Return how things are."""
    here = settings()
    names = [usecase] if usecase else list_usecases(here.usecases)
    ledger = open_ledger(here)
    facts: list[dict[str, Any]] = []
    with ledger.read() as view:
        facts = [_status_of(view, load(here, name), here) for name in names]
        left = stuck(view, datetime.now(UTC))
    lines = [line for item in facts for line in _status_lines(item)]
    lines += [f"outbox: {entry.event} of {entry.usecase} is stuck: {entry.last_error}" for entry in left]
    return {"usecases": facts, "stuck_events": [asdict(entry) for entry in left]}, "\n".join(lines)


def doctor() -> Answer:
    """Check everything that must be there."""
    here = settings()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("use cases", lambda: ", ".join(load(here, name).name for name in list_usecases(here.usecases)) or "none"),
        ("ledger", lambda: _ledger_check(here)),
        ("outbox", lambda: _outbox_check(open_ledger(here))),
        ("server", lambda: _server_check(here)),
        ("worker", lambda: _worker_check(here)),
        ("alerts", lambda: _alerts_check(here)),
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


def _status_of(view: View, usecase: UseCase, here: Settings) -> dict[str, Any]:
    name = usecase.name
    champion = view.get(Alias, usecase=name, alias="champion")
    serving = view.first(Deployment, order_by="-changed_at", usecase=name, state="serving")
    dataset = view.first(DatasetVersion, order_by="-version", usecase=name)
    decision = view.first(DecisionRecord, order_by="-created_at", usecase=name)
    judged = view.first(Evaluation, order_by="-created_at", usecase=name)
    running = view.first(Retraining, order_by="-requested_at", usecase=name, state="running")
    windows = view.all(Window, order_by="-closed_at", limit=1, usecase=name)
    found = view.first(DiagnosisRecord, order_by="-created_at", usecase=name)
    return {
        "usecase": name,
        "owner": usecase.owner.email,
        "champion": champion.version if champion else None,
        "serving": {"version": serving.model_version, "url": serving.url} if serving else None,
        "dataset": {"version": dataset.version, "rows": dataset.rows} if dataset else None,
        "last_decision": {"action": decision.action, "sentence": decision.sentence} if decision else None,
        "last_evaluation": _evaluation_facts(judged, here) if judged else None,
        "last_window": windows[0].id if windows else None,
        "last_diagnosis": _diagnosis_facts(found, here) if found else None,
        "retraining": running.cause_key if running else None,
        "waiting": [asdict(item) for item in view.all(Approval, usecase=name, state="pending")],
    }


def _evaluation_facts(record: Evaluation, here: Settings) -> dict[str, Any]:
    page = here.evaluation_page(record.usecase, record.id)
    return {
        "version": record.model_version,
        "verdict": record.verdict,
        "sentence": record.sentence,
        "page": str(page) if page.is_file() else None,
    }


def _diagnosis_facts(record: DiagnosisRecord, here: Settings) -> dict[str, Any]:
    from mlcore.performance import Estimate

    estimate, page = record.report.get("evidence", {}).get("estimate"), here.window_page(record.window_id)
    return {
        "window": record.window_id,
        "cause": record.cause,
        "sentence": record.sentence,
        "estimate": Estimate.from_json(estimate).sentence if estimate else None,
        "page": str(page) if page.is_file() else None,
    }


def _status_lines(facts: dict[str, Any]) -> list[str]:
    serving, dataset, decision = facts["serving"], facts["dataset"], facts["last_decision"]
    lines = [
        f"{facts['usecase']}  (owner {facts['owner']})",
        f"  champion   {facts['champion'] or 'none yet'}",
        f"  serving    {'version {version} at {url}'.format(**serving) if serving else 'nothing'}",
        f"  data       {'version {version}, {rows:,} rows'.format(**dataset) if dataset else 'none yet'}",
    ]
    seen = facts["last_diagnosis"]
    lines += (
        [f"  window     {seen['window']}: {seen['cause'].replace('_', ' ')}, {seen['page']}"]
        if seen and seen["page"]
        else []
    )
    lines += [f"  estimated  {seen['window']}: {seen['estimate']}"] if seen and seen["estimate"] else []
    lines += [f"  decided    {decision['action']}: {decision['sentence']}"] if decision else []
    judged = facts["last_evaluation"]
    lines += ["  judged     version {version}, {verdict}: {sentence}".format(**judged)] if judged else []
    lines += [f"             {judged['page']}"] if judged and judged["page"] else []
    lines += [f"  running    a retraining for {facts['retraining']}"] if facts["retraining"] else []
    lines += [
        f"  WAITING    {item['id']}: version {item['model_version']}, answer by {item['expires_at']:%Y-%m-%d %H:%M} UTC"
        for item in facts["waiting"]
    ]
    return lines


def _ledger_check(here: Settings) -> str:
    ledger = open_ledger(here)
    rows = audit.verify(ledger).rows
    audit.require_guarded(ledger)
    return f"{here.ledger.rpartition('@')[2]}: {rows:,} audit entries"


def _outbox_check(ledger: Ledger) -> str:
    with ledger.read() as view:
        count, left = len(waiting(view)), stuck(view, datetime.now(UTC))
    if left:
        raise ServerError(
            "events are stuck",
            subject=f"{len(left)} of {count}, the oldest {left[0].event} of {left[0].created_at:%Y-%m-%d %H:%M} UTC",
            got=left[0].last_error or "no attempt yet",
            remedy="They are kept, and delivered when the server takes them. Does `maintain` run?",
        )
    return f"{count} events wait"


def _server_check(here: Settings) -> str:
    """Return what is on the server, where all of prefect.yaml is, and switched on."""
    server = Server(here.api_url, here.api_auth, attempts=1)
    wanted = read(PROJECT / "prefect.yaml")["deployments"]
    found = {item["entrypoint"] for item in server.deployments()}
    enabled = {item["name"]: item["enabled"] for item in server.automations()}
    triggers = [trigger["name"] for item in wanted for trigger in item.get("triggers", ())]
    wrong = [f"{item['entrypoint']} is missing" for item in wanted if item["entrypoint"] not in found]
    wrong += [f"{name!r} is missing" for name in triggers if name not in enabled]
    wrong += [f"{name!r} is switched off" for name in triggers if enabled.get(name) is False]
    if wrong:
        raise ServerError(
            "the server does not have what prefect.yaml says",
            subject=here.api_url,
            got=f"{'; '.join(wrong[:3])}{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}",
            remedy="`python -m flows._cli.apply` applies it, and so does `make up`.",
        )
    return f"{here.api_url}: {len(wanted)} deployments, {len(triggers)} automations"


def _worker_check(here: Settings) -> str:
    online = Server(here.api_url, here.api_auth, attempts=1).workers(POOL)
    if not online:
        raise ServerError(
            "no worker polls",
            subject=f"work pool {POOL}",
            remedy="`make up` starts one, or `prefect worker start --pool mlops`; runs wait for it.",
        )
    return ", ".join(online)


def alerts() -> Answer:
    """Make the server's alerts those that the use cases ask for, and say what is missing."""
    here = settings()
    usecases = [load(here, name) for name in list_usecases(here.usecases)]
    count, missing = apply_alerts(Server.of(here), usecases, blocks_of(here.notify))
    return {"alerts": count, "missing": missing}, "\n".join([f"{count} alerts are set.", *missing])


def _alerts_check(here: Settings) -> str:
    server = Server(here.api_url, here.api_auth, attempts=1)
    usecases = [load(here, name) for name in list_usecases(here.usecases)]
    return check_alerts(server, usecases, blocks_of(here.notify), datetime.now(UTC))


def _host_check(here: Settings) -> str:
    from bentos.targets.local import LocalTarget

    target = LocalTarget.at(here.host_url, here.host_state)
    serving = {name: target.status(name) for name in list_usecases(here.usecases)}
    told = ", ".join(f"{name} version {item.model_version}" for name, item in serving.items() if item)
    return f"{here.host_url}: {told or 'serves nothing yet'}"
