"""Commands that start a run on the server and wait for it, and `init`."""

from __future__ import annotations

import time
from typing import Any

from flows._cli.installation import Answer, load
from flows._server import Server
from flows.settings import settings
from mlcore.errors import ServerError
from mlcore.usecase import load_usecase

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
    load(here, parameters["usecase"])
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
    contract = usecase.contract
    told = "No column orders the rows in time, and no backtest can be without one: --time COLUMN, or --time DATE,HOUR."
    if contract.time is not None:
        made = f" made of {', '.join(contract.time.made_of)}" if contract.time.made_of else ""
        told = (
            f"Rows are ordered by {contract.time.name}{made}, in windows of a {usecase.monitoring.windows[0].period}."
        )
        if usecase.cleaning.key_duplicates == "keep":
            told += (
                " Several rows have one time: all are kept, the columns that tell them apart are the first to check."
            )
    text = (
        f"{path}: {len(contract.columns)} columns, {contract.task} of {contract.target.name}.\n{told}\n"
        f"Read it, correct it, then: mlops publish {name} {source}"
    )
    return {"path": str(path), "task": usecase.contract.task, "columns": list(usecase.contract.names)}, text
