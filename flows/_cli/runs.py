"""Commands that start a run on the server and wait for it, and `init`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows._cli.installation import Answer, load
from flows._server import Server
from flows.settings import settings
from mlcore.errors import ServerError
from mlcore.usecase import load_usecase

if TYPE_CHECKING:
    from mlcore.contract import DataContract

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
    from mlcore.data.draft import write_usecase
    from mlcore.data.infer import infer_usecase

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
    told = "\n".join([told, *(f"{line}." for line in _taken(contract))])
    text = (
        f"{path}: {len(contract.columns)} columns, {contract.task} of {contract.target.name}.\n{told}\n"
        f"What was guessed is said in the file. Read it, correct it, then: mlops publish {name} {source}"
    )
    return {"path": str(path), "task": usecase.contract.task, "columns": list(usecase.contract.names)}, text


def _taken(contract: DataContract) -> Iterator[str]:
    """Yield what was decided about columns, for a person to look at."""
    absent = [f"{column.name} ({', '.join(column.missing_as)})" for column in contract.columns if column.missing_as]
    if absent:
        yield f"Taken for missing values: {', '.join(absent)}"
    ignored = [column.name for column in contract.columns if column.role == "metadata"]
    if ignored:
        yield f"No features: {', '.join(ignored)}"
    units = [f"{column.name} in {column.unit}" for column in contract.columns if column.unit]
    if units:
        yield f"Units of the headers: {', '.join(units)}"
