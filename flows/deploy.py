"""Put a Bento into service: proven on golden requests first, no request lost, what served before kept on failure."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from flows._context import Context, open_context, stage
from flows.package import champion_of, find_model
from mlcore import events, registry
from mlcore.errors import DeploymentError, ServerError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import Alias, BentoRecord, Deployment, ModelVersion
from mlcore.ledger.store import Transaction, View

if TYPE_CHECKING:
    from bentos.targets.local import LocalTarget

#: How often it is tried to deploy a champion whose attempts die, or end with the host.
MOST_ATTEMPTS: Final = 5
#: What an attempt needs besides the host.
_GRACE: Final = timedelta(seconds=15)


@stage("deploy")
async def deploy(usecase: str, model_version: int | None = None, target: str = "local", event_id: str = "") -> str:
    """Serve the packaged champion at the use case's address; no other version is served.

    Args:
        usecase: Name of the use case.
        model_version: The version to serve, which must be the champion; left out it is.
        target: Where to; 'local' is the service host that `make up` starts.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    if event_id and (why := _why_not(context)):
        await context.tell(f"{why}; nothing to deploy.")
        return why
    model = find_model(context, model_version)
    _require_champion(context, model)
    await asyncio.to_thread(end_lost, context)
    deployment = _begin(context, model, target)
    if isinstance(deployment, str):
        await context.tell(deployment)
        return deployment
    try:
        url = await asyncio.to_thread(_switch, context, deployment)
    except DeploymentError as error:
        _end(context, deployment, str(error), most=1)
        raise
    except ServerError as error:
        # the host is away, which says nothing about the model: it is tried again when the host is back
        _end(context, deployment, str(error))
        raise
    _finish(context, deployment, url)
    sentence = f"Version {model.version} serves at {url}" + (
        f", in place of version {deployment.replaces}." if deployment.replaces else "."
    )
    await context.tell(sentence, f"Proven on {context.usecase.serving.golden_rows} golden rows before the switch.")
    return sentence


def _why_not(context: Context) -> str:
    """Return why there is nothing that an event may put into service; empty where there is."""
    champion = champion_of(context)
    if champion is None:
        return "There is no champion yet"
    with context.ledger.read() as view:
        if was_refused(view, champion):
            return f"Version {champion.version} was refused before: a person must look"
        bento = view.get(BentoRecord, usecase=context.name, model_version=champion.version)
    return "" if bento is not None else f"Version {champion.version} is not packaged yet"


def was_refused(view: View, champion: Alias) -> bool:
    """Whether it was tried, since `champion` became it, to put it into service, and it failed for good."""
    failed = view.first(
        Deployment,
        order_by="-changed_at",
        usecase=champion.usecase,
        model_version=champion.version,
        state="failed",
    )
    return failed is not None and failed.changed_at >= champion.changed_at


def _require_champion(context: Context, model: ModelVersion) -> None:
    champion = champion_of(context)
    if champion is None or champion.version != model.version:
        raise DeploymentError(
            "only the champion is served",
            subject=f"{context.name} version {model.version}",
            expected=f"version {champion.version}" if champion else "a champion",
            got="a version that was not promoted, or is not the champion any more",
            remedy="Promote it, or `mlops rollback` to the version before.",
        )


def _begin(context: Context, model: ModelVersion, target: str) -> Deployment | str:
    """Return a new attempt, or why there is nothing to do."""
    # asked before the transaction: nobody else could write to the ledger while a slow host answers
    with context.ledger.read() as view:
        serving = view.first(Deployment, usecase=context.name, state="serving")
    if serving and serving.model_version == model.version and served_version(context) == model.version:
        return f"Version {model.version} is serving already; nothing to do."
    with context.ledger.transaction() as tx:
        if tx.first(Deployment, usecase=context.name, model_version=model.version, state="starting"):
            return f"Version {model.version} is being deployed by another run; nothing to do."
        bento = tx.get(BentoRecord, usecase=context.name, model_version=model.version)
        if bento is None:
            raise DeploymentError(
                "not packaged yet",
                subject=f"{context.name} version {model.version}",
                expected="a Bento",
                remedy="Run package/default first.",
            )
        serving = tx.first(Deployment, usecase=context.name, state="serving")
        deployment = Deployment(
            id=str(uuid.uuid4()),
            usecase=context.name,
            model_version=model.version,
            bento_tag=bento.tag,
            target=target,
            state="starting",
            url="",
            replaces=serving.model_version if serving else None,
            error="",
            created_at=context.now(),
            changed_at=context.now(),
            flow_run_id=context.run_id,
        )
        tx.add(deployment)
        failpoint("deployment.after-begin")
        return deployment


def _target(context: Context) -> LocalTarget:
    from bentos.targets.local import LocalTarget

    return LocalTarget.at(context.settings.host_url, context.settings.host_state)


def _switch(context: Context, deployment: Deployment) -> str:
    with context.ledger.read() as view:
        bento = view.get(BentoRecord, usecase=context.name, model_version=deployment.model_version)
    assert bento is not None
    failpoint("deployment.before-switch")
    trial = context.usecase.serving.trial
    return str(_target(context).deploy(context.name, deployment.model_version, bento.path, trial).url)


def _finish(context: Context, deployment: Deployment, url: str) -> None:
    failpoint("deployment.after-switch")
    with context.ledger.transaction() as tx:
        for older in tx.all(Deployment, usecase=context.name, state="serving"):
            tx.change(older, state="retired", changed_at=context.now())
        tx.change(deployment, state="serving", url=url, changed_at=context.now())
        _record(tx, context, deployment, "deployment.served", events.SERVICE_DEPLOYED, url=url)
    context.announce()


def end_lost(context: Context) -> list[str]:
    """Close the attempts whose runs have died: the server says so, or they have had more time than one can take."""
    with context.ledger.read() as view:
        starting = view.all(Deployment, usecase=context.name, state="starting")
    return [
        f"the attempt to deploy version {item.model_version} was cut short"
        for item in starting
        if _is_lost(context, item) and _end(context, item, "its run died")
    ]


def _is_lost(context: Context, attempt: Deployment) -> bool:
    from bentos.targets.local import TIMEOUT_SECONDS

    trial = context.usecase.serving.trial
    longest = timedelta(seconds=TIMEOUT_SECONDS) + (trial.duration if trial else timedelta(0))
    if abs(context.now() - attempt.created_at) > longest + _GRACE:
        return True
    try:
        return context.server.has_ended(attempt.flow_run_id)
    except ServerError:
        return False


def served_version(context: Context) -> int | None:
    """Return the version that the host serves, 0 where it serves none; None where the host is away."""
    try:
        status = _target(context).status(context.name)
    except ServerError:
        return None
    return status.model_version if status is not None else 0


def _end(context: Context, deployment: Deployment, error: str, most: int = MOST_ATTEMPTS) -> bool:
    """Close an attempt as abandoned, as failed where it was the last of `most`; False if it had an end already."""
    with context.ledger.transaction() as tx:
        if tx.get(Deployment, id=deployment.id) != deployment:
            return False
        champion = registry.alias(tx, context.name, "champion")
        tried = [
            item
            for item in tx.all(
                Deployment, usecase=context.name, model_version=deployment.model_version, state="abandoned"
            )
            if champion is None or item.created_at >= champion.changed_at
        ]
        state = "failed" if len(tried) + 1 >= most else "abandoned"
        tx.change(deployment, state=state, error=error, changed_at=context.now())
        if state == "failed":
            _record(tx, context, deployment, "deployment.failed", events.DEPLOYMENT_FAILED, error=error)
    context.announce()
    return True


def _record(tx: Transaction, context: Context, deployment: Deployment, action: str, event: str, **facts: str) -> None:
    tx.audit(
        usecase=context.name,
        actor=context.actor,
        action=action,
        subject=f"{context.name}/model/{deployment.model_version}",
        at=context.now(),
        deployment=deployment.id,
        bento=deployment.bento_tag,
        **facts,
    )
    tx.announce(
        Event(
            event,
            context.name,
            key=deployment.id,
            occurred=context.now(),
            payload={"model_version": deployment.model_version, "deployment_id": deployment.id},
        )
    )
