"""Put a Bento into service: proven on golden requests first, no request lost, what served before kept on failure."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from flows._context import Context, open_context, stage
from flows.package import find_model
from mlcore import events
from mlcore.errors import DeploymentError, ServerError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import BentoRecord, Deployment, ModelVersion
from mlcore.ledger.store import Transaction

if TYPE_CHECKING:
    from bentos.targets.local import LocalTarget


@stage("deploy")
async def deploy(usecase: str, model_version: int | None = None, target: str = "local") -> str:
    """Serve a packaged model version at the use case's address.

    Args:
        usecase: Name of the use case.
        model_version: The version to serve; the champion if left out.
        target: Where to; 'local' is the service host that `make up` starts.
    """
    context = open_context(usecase)
    model = find_model(context, model_version)
    deployment = _begin(context, model, target)
    if deployment is None:
        sentence = f"Version {model.version} is serving already; nothing to do."
        await context.tell(sentence)
        return sentence
    try:
        url = await asyncio.to_thread(_switch, context, deployment)
    except (DeploymentError, ServerError) as error:
        _fail(context, deployment, error)
        raise
    _finish(context, deployment, url)
    sentence = f"Version {model.version} serves at {url}" + (
        f", in place of version {deployment.replaces}." if deployment.replaces else "."
    )
    await context.tell(sentence, f"Proven on {context.usecase.serving.golden_rows} golden rows before the switch.")
    return sentence


def _begin(context: Context, model: ModelVersion, target: str) -> Deployment | None:
    # asked before the transaction: nobody else could write to the ledger while a slow host answers
    with context.ledger.read() as view:
        serving = view.first(Deployment, usecase=context.name, state="serving")
    if serving and serving.model_version == model.version and _serves(context, model.version):
        return None
    with context.ledger.transaction() as tx:
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
        )
        tx.add(deployment)
        failpoint("deployment.after-begin")
        return deployment


def _serves(context: Context, version: int) -> bool:
    status = _target(context).status(context.name)
    return status is not None and status.model_version == version


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


def _fail(context: Context, deployment: Deployment, error: Exception) -> None:
    with context.ledger.transaction() as tx:
        tx.change(deployment, state="failed", error=str(error), changed_at=context.now())
        _record(tx, context, deployment, "deployment.failed", events.DEPLOYMENT_FAILED, error=str(error))
    context.announce()


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
