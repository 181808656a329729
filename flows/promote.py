"""Make a validated, and where asked approved, challenger the champion."""

from __future__ import annotations

from flows import _approval
from flows._context import Context, open_context, stage
from mlcore import registry
from mlcore.errors import ApprovalError, RegistryError, StalePromotionError
from mlcore.ledger.records import Approval, Evaluation, ModelVersion
from mlcore.ledger.store import View


@stage("promote")
async def promote(
    usecase: str,
    model_version: int | None = None,
    reason: str = "",
    event_id: str = "",
) -> int | None:
    """Move the champion alias to a model version, if its evaluation and approval allow it.

    Args:
        usecase: Name of the use case.
        model_version: The version to promote; the newest one that may be if left out.
        reason: Why, for the audit trail.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    with context.ledger.read() as view:
        nothing_due = bool(event_id) and due(view, context) is None
    if nothing_due:
        await context.tell("No model waits to be promoted.")
        return None
    version, sentence, approver = move(context, model_version, reason)
    context.announce()
    await context.tell(sentence, f"Approved by {approver}." if approver else "")
    return version


def due(view: View, context: Context) -> Evaluation | None:
    """Return the newest judgement that leads to a promotion now, None where no model waits for one."""
    for evaluation in view.all(Evaluation, order_by="-created_at", usecase=context.name, verdict="promote"):
        try:
            _allowed(view, context, evaluation)
        except (ApprovalError, RegistryError):
            continue
        return evaluation
    return None


def move(context: Context, model_version: int | None, reason: str) -> tuple[int, str, str | None]:
    """Move the alias in one transaction; return the version, what to say, and who approved where somebody had to."""
    with context.ledger.transaction() as tx:
        evaluation = _evaluation(tx, context, model_version)
        champion = registry.alias(tx, context.name, "champion")
        if champion and champion.version == evaluation.model_version:
            return champion.version, f"Version {champion.version} is the champion already; nothing to do.", None
        approver = _allowed(tx, context, evaluation)
        registry.promote(
            tx,
            context.name,
            evaluation.model_version,
            expected_generation=champion.generation if champion else 0,
            actor=approver or context.actor,
            reason=reason or evaluation.sentence,
            now=context.now(),
        )
        # whoever waits was compared with the champion that was
        _approval.close_all_over(tx, context.name, context.now())
    version = evaluation.model_version
    return version, f"Version {version} is the champion: {evaluation.sentence}", approver


def _evaluation(view: View, context: Context, model_version: int | None) -> Evaluation:
    if model_version is not None:
        found = registry.newest_evaluation(view, context.name, model_version)
    else:  # where none is due, the newest one says why
        found = due(view, context) or view.first(
            Evaluation, order_by="-created_at", usecase=context.name, verdict="promote"
        )
    if found is None or found.verdict != "promote":
        raise RegistryError(
            "this model may not be promoted",
            subject=f"{context.name} version {model_version or 'any'}",
            expected="the verdict 'promote' of its newest evaluation",
            got=f"the verdict {found.verdict!r}" if found else "no evaluation",
            remedy="Run validate/default for it and read its artifact; the champion stays.",
        )
    return found


def _allowed(view: View, context: Context, evaluation: Evaluation) -> str | None:
    """Return who approved, None where nobody had to; or say why `evaluation` does not lead to a promotion now."""
    version = evaluation.model_version
    newest = registry.newest_evaluation(view, context.name, version)
    if newest is not None and newest.id != evaluation.id:
        raise StalePromotionError(
            "this model may not be promoted any more",
            subject=f"{context.name} version {version}",
            expected="the verdict 'promote' of its newest evaluation",
            got=f"the verdict {newest.verdict!r}",
            remedy="Its artifact says why; the champion stays.",
        )
    champion = registry.alias(view, context.name, "champion")
    approver = _approver(view, context, evaluation)
    used_up = registry.was_promoted_since(view, context.name, version, evaluation.created_at)
    _require_current(evaluation, champion.version if champion else None, used_up=used_up)
    return approver


def _approver(view: View, context: Context, evaluation: Evaluation) -> str | None:
    """Return who approved, None where nobody had to; the approval must be of exactly this model and evaluation."""
    model = view.get(ModelVersion, usecase=context.name, version=evaluation.model_version)
    approval = view.first(Approval, order_by="-requested_at", usecase=context.name, evaluation_id=evaluation.id)
    if approval is None:
        if model is None or _approval.is_needed(view, context.usecase, model, evaluation):
            raise ApprovalError(
                "this model needs an approval that was never asked for",
                subject=f"{context.name} version {evaluation.model_version}",
                remedy="Run validate/default for it: that asks.",
            )
        return None
    if approval.state == "superseded" and approval.approver:
        raise StalePromotionError(
            "the champion changed after this model was agreed to",
            subject=f"{context.name} version {evaluation.model_version}",
            got=approval.reason,
            remedy="It is compared with today's champion, and asked about anew.",
        )
    shown = (approval.model_digest, approval.model_version, approval.dataset_version)
    meant = (model.digest, model.version, evaluation.dataset_version) if model is not None else None
    if approval.state != "granted" or shown != meant:
        raise ApprovalError(
            "this model is not approved",
            subject=f"{context.name} version {evaluation.model_version}",
            expected="a granted approval of this very model",
            got=f"an approval that is {approval.state}"
            + ("" if approval.state != "granted" else ", of another model or dataset version"),
            remedy="Answer it with `mlops approve` or in the Prefect UI.",
        )
    return approval.approver


def _require_current(evaluation: Evaluation, champion: int | None, *, used_up: bool) -> None:
    """Refuse an evaluation against another champion, and one that has led to a promotion that was rolled back."""
    if used_up:
        raise StalePromotionError(
            "this evaluation has led to a promotion already",
            subject=f"{evaluation.usecase} version {evaluation.model_version}",
            got="it was rolled back, or replaced, since",
            remedy="Run validate/default for it again.",
        )
    if evaluation.champion_version != champion:
        raise StalePromotionError(
            "the champion changed after this model was compared",
            subject=f"{evaluation.usecase} version {evaluation.model_version}",
            expected=f"champion {evaluation.champion_version}",
            got=f"champion {champion}",
            remedy="Run validate/default for it again.",
        )
