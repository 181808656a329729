"""Build the Bento of a model version."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows._context import Context, open_context, stage
from mlcore import events, registry
from mlcore.errors import PackagingError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import Alias, BentoRecord, ModelVersion

LOCK_FILE = Path(__file__).parent.parent / "requirements.lock"


@stage("package")
async def package(usecase: str, model_version: int | None = None, event_id: str = "") -> str:
    """Package a model version with its pinned environment, typed input and manifests.

    Args:
        usecase: Name of the use case.
        model_version: The version to package; the champion if left out.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    if event_id and champion_of(context) is None:
        await context.tell("There is no champion yet; nothing to package.")
        return "nothing"
    model = find_model(context, model_version)
    with context.ledger.read() as view:
        record = view.get(BentoRecord, usecase=context.name, model_version=model.version)
    is_there = record is not None and Path(record.path).exists()
    if record is None or not is_there:
        record = await asyncio.to_thread(_build, context, model)
    failpoint("bento.before-record")
    with context.ledger.transaction() as tx:
        tx.add_once(record)
        if not is_there:
            tx.audit(
                usecase=context.name,
                actor=context.actor,
                action="bento.built",
                subject=f"{context.name}/model/{model.version}",
                at=context.now(),
                tag=record.tag,
                digest=record.digest,
            )
        tx.announce(
            Event(
                events.BENTO_BUILT,
                context.name,
                # one announcement a promotion: a version promoted again after a rollback is deployed again
                key=f"{record.tag}@{_generation(context)}",
                occurred=context.now(),
                payload={"model_version": model.version, "bento_tag": record.tag},
            )
        )
    context.announce()
    await context.tell(
        f"Version {model.version} is packaged as {record.tag}.",
        f"- path: `{record.path}`\n- digest: `{record.digest}`\n- model digest: `{model.digest}`\n"
        "- Containerfile and Kubernetes manifests are inside.",
    )
    return record.tag


def find_model(context: Context, version: int | None) -> ModelVersion:
    """Return the model version asked for, the champion where none is named.

    Raises
    ------
    PackagingError
        If there is no such version, or no champion yet.
    """
    if version is None:
        champion = champion_of(context)
        version = champion.version if champion else None
    with context.ledger.read() as view:
        model = view.get(ModelVersion, usecase=context.name, version=version) if version is not None else None
    if model is None:
        raise PackagingError(
            "no such model version",
            subject=context.name,
            expected="a registered version" if version is not None else "a champion",
            got=f"version {version}" if version is not None else "none yet",
            remedy="`mlops models` lists the versions.",
        )
    return model


def champion_of(context: Context) -> Alias | None:
    """Return which version is the champion, None before there is one."""
    with context.ledger.read() as view:
        return registry.alias(view, context.name, "champion")


def _generation(context: Context) -> int:
    champion = champion_of(context)
    return champion.generation if champion else 0


def _build(context: Context, model: ModelVersion) -> BentoRecord:
    from bentos.packaging import build

    bento = build(
        model_uri=model.uri,
        model_digest=model.digest,
        usecase=context.usecase,
        model_version=model.version,
        bentoml_home=context.settings.bentos,
        lock_file=LOCK_FILE,
    )
    return BentoRecord(
        usecase=context.name,
        model_version=model.version,
        tag=bento.tag,
        path=str(bento.path),
        digest=bento.digest,
        created_at=context.now(),
    )
