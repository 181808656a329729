"""The `mlops` command: one verb a line, each with --json; heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from mlcore.errors import MLOpsError, storage_error

app = App(name="mlops", help="Operate tabular models: from announced data to a monitored service, and back.")
approvals = Parameter(help="The approval's id; may be left out where one waits.")


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command answers."""

    json: Annotated[bool, Parameter(help="Answer in JSON.", negative="")] = False

    def say(self, facts: Any, text: str) -> None:
        """Print `facts` as JSON, or `text` for a person."""
        print(json.dumps(facts, indent=2, default=str) if self.json else text)  # noqa: T201


@app.command
def up(*, server_port: int = 4200, host_port: int = 8700, home: Path | None = None) -> None:
    """Start server, worker, service host and deployments, until Ctrl-C.

    Parameters
    ----------
    home
        Folder of everything that runs leave behind; without it MLOPS_HOME says which.
    """
    from flows._cli.up import run

    run(home=home, server_port=server_port, host_port=host_port)


@app.command
def demo(
    usecase: str = "bikeshare", *, keep: bool = False, ask: bool = False, home: Path = Path(".mlops/demo")
) -> None:
    """Run the whole loop on a use case's own data: about four minutes.

    Parameters
    ----------
    keep
        Leave everything running afterwards, until Ctrl-C.
    ask
        Wait for a person to approve in the Prefect UI.
    """
    from flows._cli.demo import run

    run(usecase, home=home, keep=keep, ask=ask)


@app.command
def init(
    source: str,
    *,
    name: str,
    target: str,
    time: str = "",
    owner: str = "owner@example.org",
    output: Output = Output(),
) -> None:
    """Write a use case from a CSV or Parquet file.

    Parameters
    ----------
    source
        The file to look at.
    name
        The use case's name: lower case letters, digits, underscores.
    target
        The column to predict.
    time
        The column that orders the rows, or several with commas, as date,hour; by default what looks like one.
    owner
        E-mail address of who answers for the model.
    """
    from flows._cli.runs import init as run

    output.say(*run(source, name=name, target=target, time=time or None, owner=owner))


@app.command
def publish(usecase: str, uri: str, *, output: Output = Output()) -> None:
    """Publish a file as a dataset version, on the server, and wait for the outcome."""
    from flows._cli.runs import run_deployment

    output.say(*run_deployment("publish-dataset", usecase=usecase, uri=_absolute(uri)))


@app.command
def score(usecase: str, source: str, destination: str, *, output: Output = Output()) -> None:
    """Score a file through the champion, on the server, and wait for the outcome."""
    from flows._cli.runs import run_deployment

    output.say(
        *run_deployment("score-batch", usecase=usecase, source=_absolute(source), destination=_absolute(destination))
    )


@app.command
def rollback(usecase: str, reason: str, *, actor: str = "", output: Output = Output()) -> None:
    """Put the previous champion back into service."""
    from flows._cli.runs import run_deployment

    output.say(*run_deployment("rollback", usecase=usecase, reason=reason, actor=actor))


@app.command
def backtest(
    usecase: str,
    *,
    data: str = "",
    period: Literal["hour", "day", "week", "month"] | None = None,
    initial: int | None = None,
    every: int = 4,
    gate: bool = True,
    search: Literal["once", "always"] = "once",
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    grid: Path | None = None,
    output: Output = Output(),
) -> None:
    """Replay past data through the loop and compare retraining policies; needs no server.

    Parameters
    ----------
    data
        The past as a CSV or Parquet file; by default the newest dataset version.
    period
        Replay in windows of this length instead of the cadence's.
    initial
        Windows that the first model is trained on; by default a fifth of them.
    every
        After so many windows the periodic strategy retrains.
    gate
        Whether a new model must pass the gate.
    search
        Whether to search for the first model only, or for every one.
    settings
        A further policy to compare, as retraining.cooldown=P7D; may be given several times.
    grid
        A YAML file of such keys, each with a list of values.
    """
    from flows._cli.backtest import backtest as run
    from mlcore.backtest import Options

    options = Options(period=period, initial_windows=initial, every_windows=every, gate=gate, search=search)
    output.say(*run(usecase, data, options, settings, grid))


@app.command
def status(usecase: str = "", *, output: Output = Output()) -> None:
    """Show champions, services, windows, decisions, what waits for a person and what is stuck."""
    from flows._cli.status import status as run

    output.say(*run(usecase))


@app.command
def models(usecase: str, version: int | None = None, *, output: Output = Output()) -> None:
    """List model versions with their aliases, or show one."""
    from flows._cli.models import models as run

    output.say(*run(usecase, version))


@app.command
def reproduce(model: str, *, search: bool = False, output: Output = Output()) -> None:
    """Train a registered model again and prove its digest equal; exit 1 if it is another.

    Parameters
    ----------
    model
        A model's digest, use case/version such as bikeshare/3, or a use case for its newest version.
    search
        Search again, too, instead of fitting the registered winner.
    """
    from flows._cli.models import reproduce as run

    facts, text = run(model, search=search)
    output.say(facts, text)
    if not facts["is_same"]:
        sys.exit(1)


@app.command
def approve(approval: Annotated[str, approvals] = "", *, approver: str, reason: str, output: Output = Output()) -> None:
    """Approve the model that waits, as the form in the Prefect UI does."""
    from flows._cli.answer import answer

    output.say(*answer(approval, decision="approve", approver=approver, reason=reason))


@app.command
def reject(approval: Annotated[str, approvals] = "", *, approver: str, reason: str, output: Output = Output()) -> None:
    """Reject the model that waits."""
    from flows._cli.answer import answer

    output.say(*answer(approval, decision="reject", approver=approver, reason=reason))


audit = App(name="audit", help="The append-only audit trail.")
app.command(audit)


@audit.command
def verify(*, head: str = "", output: Output = Output()) -> None:
    """Check every link of the chain.

    Parameters
    ----------
    head
        A head exported earlier (the file, or <rows>:<hash>): finds rows cut off at the end.
    """
    from flows._cli.audits import audit_verify

    output.say(*audit_verify(head))


@audit.command
def head(file: Path | None = None, *, output: Output = Output()) -> None:
    """Export the head of the chain, for `verify --head`.

    Parameters
    ----------
    file
        Where to keep it: a place that whoever can write the ledger cannot.
    """
    from flows._cli.audits import audit_head

    output.say(*audit_head(file))


@audit.command
def show(
    usecase: str = "",
    *,
    action: str = "",
    subject: str = "",
    actor: str = "",
    since: str = "",
    until: str = "",
    limit: int = 50,
    output: Output = Output(),
) -> None:
    """Show the newest entries, oldest first.

    Parameters
    ----------
    action
        One action such as model.promoted, or with a dot at the end all of a kind: approval.
    subject
        Such as bikeshare/model/3.
    actor
        A person, or flow-run:<id>.
    since, until
        Days or times, UTC.
    limit
        How many at most.
    """
    from flows._cli.audits import Filter, audit_show

    output.say(*audit_show(Filter(usecase, action, subject, actor, since, until), limit))


@app.command
def erase(usecase: str, *row_ids: str, reason: str, actor: str = "", output: Output = Output()) -> None:
    """Remove captured rows, by the ids that /predict answered, for good and on the record.

    Parameters
    ----------
    row_ids
        One or more; where one of them is not known, none is removed.
    reason
        Why, for the audit trail.
    actor
        Who asks; the account on this machine if left out.
    """
    from flows._cli.erase import erase as run

    output.say(*run(usecase, row_ids, reason=reason, actor=actor))


@app.command
def trace(identifier: str, *, html: Path | None = None, output: Output = Output()) -> None:
    """Show everything behind an id, and everything that came of it, as a tree.

    Parameters
    ----------
    identifier
        Of a prediction, run, event, window, approval, evaluation, decision, Bento or deployment;
        or use case/model/version, or use case/dataset/version, or the digest of one of them.
    html
        Draw it on a page that needs nothing else.
    """
    from flows._cli.trace import trace as run

    output.say(*run(identifier, html))


@app.command
def alerts(*, output: Output = Output()) -> None:
    """Set the server's alerts to the notification blocks of `owner.notify`; exit 1 if a block is missing."""
    from flows._cli.status import alerts as run

    facts, text = run()
    output.say(facts, text)
    if facts["missing"]:
        sys.exit(1)


@app.command
def doctor(*, output: Output = Output()) -> None:
    """Check this installation: settings, use cases, ledger, server, host; exit 1 if something is wrong."""
    from flows._cli.status import doctor as run

    facts, text = run()
    output.say(facts, text)
    if not facts["healthy"]:
        sys.exit(1)


@app.command
def lint(*, output: Output = Output()) -> None:
    """Check prefect.yaml against the flows and the events; exit 1 if something is wrong."""
    from flows._cli.lint import lint as run

    problems = run()
    output.say(problems, "\n".join(problems) or "prefect.yaml is sound.")
    if problems:
        sys.exit(1)


def main() -> None:
    """Run the command; an error that a person can cause is one sentence and an exit code, no traceback.

    With ``--json`` it is an object on standard output as well. Exit code 2: the command itself was wrong.
    """
    in_json = "--json" in sys.argv[1:]
    try:
        app(sys.argv[1:], exit_on_error=not in_json, print_error=not in_json)
    except MLOpsError as error:
        _fail(error, 1, in_json=in_json)
    except CycloptsError as error:
        wrong = MLOpsError("the command cannot be understood", got=str(error), remedy="`mlops --help` shows how.")
        _fail(wrong, 2, in_json=in_json)
    except BrokenPipeError:  # who read the answer has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(storage_error(error), 1, in_json=in_json)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: MLOpsError, code: int, *, in_json: bool) -> NoReturn:
    if in_json:
        print(json.dumps({"error": error.to_json()}, indent=2))  # noqa: T201
    print(f"mlops: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).resolve())
