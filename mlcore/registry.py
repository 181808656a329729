"""Model versions and the aliases that name them; promotion is a compare-and-swap in the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from mlcore import events
from mlcore.errors import RegistryError, StalePromotionError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import Alias, AliasChange, AuditEntry, Evaluation, ModelVersion

if TYPE_CHECKING:
    from mlcore.ledger.store import Transaction, View


def register(tx: Transaction, model: ModelVersion, now: datetime, *, started_by: str = "") -> ModelVersion:
    """Give `model` the next version of its use case and keep it; it never changes afterwards.

    Parameters
    ----------
    started_by : str, default=""
        The person who started its training, kept in the audit trail; empty where no person did, or nobody said.
    """
    model = replace(model, version=tx.next_version(ModelVersion, model.usecase))
    tx.add(model)
    tx.audit(
        usecase=model.usecase,
        actor=f"flow-run:{model.flow_run_id}",
        action="model.registered",
        subject=f"{model.usecase}/model/{model.version}",
        at=now,
        digest=model.digest,
        dataset_version=model.dataset_version,
        code_commit=model.code_commit,
        lock_digest=model.lock_digest,
        seed=model.seed,
        cause=model.cause,
        cause_key=model.cause_key,
        started_by=started_by,
    )
    return model


def starter(view: View, model: ModelVersion) -> str:
    """Return the person who started the training of `model`; empty where no person did, or nobody said."""
    subject = f"{model.usecase}/model/{model.version}"
    entry = view.first(AuditEntry, usecase=model.usecase, action="model.registered", subject=subject)
    return str(entry.facts.get("started_by", "")) if entry is not None else ""


def newest_evaluation(view: View, usecase: str, version: int) -> Evaluation | None:
    """Return the last judgement of `version`, whatever its verdict; None where it was never judged."""
    return view.first(Evaluation, order_by="-created_at", usecase=usecase, model_version=version)


def alias(view: View, usecase: str, name: str) -> Alias | None:
    """Return which version `name` is now, None before it was first set."""
    return view.get(Alias, usecase=usecase, alias=name)


def was_promoted_since(view: View, usecase: str, version: int, since: datetime) -> bool:
    """Whether `version` became the champion after `since`: what was judged then has been used up."""
    changes = view.all(AliasChange, usecase=usecase, alias="champion", version=version)
    return any(change.changed_at >= since for change in changes)


def replaced(view: View, usecase: str, version: int, most: int) -> tuple[ModelVersion, ...]:
    """Return the champions before `version`, newest first, at most `most`.

    Each is the one that the next took the place of when that first served; what a rollback took back is none of them.
    """
    found: list[ModelVersion] = []
    while len(found) < most:
        change = view.first(AliasChange, order_by="generation", usecase=usecase, alias="champion", version=version)
        model = None
        if change is not None and change.previous is not None:
            model = view.get(ModelVersion, usecase=usecase, version=change.previous)
        if model is None:
            break
        found.append(model)
        version = model.version
    return tuple(found)


def promote(
    tx: Transaction, usecase: str, version: int, *, expected_generation: int, actor: str, reason: str, now: datetime
) -> Alias:
    """Make `version` the champion, if the champion is still the one that was looked at.

    Parameters
    ----------
    expected_generation : int
        Generation of the champion alias that the decision rests on; 0 where there was none.

    Raises
    ------
    RegistryError
        If there is no such version.
    StalePromotionError
        If the alias has moved since; nothing is changed.
    """
    if tx.get(ModelVersion, usecase=usecase, version=version) is None:
        raise RegistryError("no such model version", subject=f"{usecase} version {version}")
    current = alias(tx, usecase, "champion")
    generation = current.generation if current else 0
    if generation != expected_generation:
        raise StalePromotionError(
            "the champion has changed meanwhile",
            subject=f"{usecase} version {version}",
            expected=f"generation {expected_generation}",
            got=f"generation {generation}, version {current.version if current else None}",
            remedy="Compare with today's champion first.",
        )
    champion = _set(tx, usecase, "champion", version, actor=actor, reason=reason, now=now)
    failpoint("promotion.after-alias")
    if current is not None:
        _set(tx, usecase, "previous", current.version, actor=actor, reason=reason, now=now)
    tx.audit(
        usecase=usecase,
        actor=actor,
        action="model.promoted",
        subject=f"{usecase}/model/{version}",
        at=now,
        generation=champion.generation,
        previous=current.version if current else None,
        reason=reason,
    )
    tx.announce(
        Event(
            events.MODEL_PROMOTED,
            usecase,
            key=f"{version}@{champion.generation}",
            occurred=now,
            payload={"model_version": version},
        )
    )
    return champion


def rollback(tx: Transaction, usecase: str, *, actor: str, reason: str, now: datetime) -> Alias:
    """Make the previous champion the champion again.

    Asked for again with the same reason it changes nothing, or who repeats what failed afterwards would put the model
    that was taken back into service once more.

    Raises
    ------
    RegistryError
        If there is no previous champion.
    """
    champion, previous = alias(tx, usecase, "champion"), alias(tx, usecase, "previous")
    if champion is None or previous is None:
        raise RegistryError(
            "nothing to go back to",
            subject=usecase,
            expected="a previous champion",
            got="none",
            remedy="`mlops models` shows the versions and their aliases.",
        )
    told = f"rollback: {reason}"
    last = tx.get(AliasChange, usecase=usecase, alias="champion", generation=champion.generation)
    if last is not None and last.reason == told:
        return champion
    return promote(
        tx,
        usecase,
        previous.version,
        expected_generation=champion.generation,
        actor=actor,
        reason=told,
        now=now,
    )


def challenge(tx: Transaction, usecase: str, version: int, *, actor: str, reason: str, now: datetime) -> Alias:
    """Name `version` the challenger."""
    return _set(tx, usecase, "challenger", version, actor=actor, reason=reason, now=now)


def _set(tx: Transaction, usecase: str, name: str, version: int, *, actor: str, reason: str, now: datetime) -> Alias:
    current = alias(tx, usecase, name)
    changed = Alias(
        usecase=usecase,
        alias=name,  # type: ignore[arg-type]
        version=version,
        generation=current.generation + 1 if current else 1,
        changed_at=now,
    )
    if current is None:
        tx.add(changed)
    else:
        tx.change(current, version=version, generation=changed.generation, changed_at=now)
    tx.add(
        AliasChange(
            usecase=usecase,
            alias=name,
            generation=changed.generation,
            version=version,
            previous=current.version if current else None,
            reason=reason,
            actor=actor,
            changed_at=now,
        )
    )
    return changed
