"""Compare a challenger with the champion on the same held-out rows; ask for approval where the policy wants it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Final

from flows import _approval
from flows._context import Context, open_context, stage
from flows.quality import find_dataset
from mlcore import events, registry
from mlcore.errors import MLOpsError, RegistryError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger import leases
from mlcore.ledger.records import DatasetVersion, Evaluation, Lease, ModelVersion, Revalidation

if TYPE_CHECKING:
    from mlcore.ledger.store import Transaction
    from mlcore.modelstore import ModelMetadata
    from mlcore.validation import EvaluationReport


_MARKS: Final = {"passed": "yes", "failed": "**no**", "not_judged": "not judged"}


@stage("validate")
async def validate(usecase: str, model_version: int | None = None, event_id: str = "") -> str:
    """Judge a model version: promote, hold or reject, with the evidence.

    Args:
        usecase: Name of the use case.
        model_version: The challenger; the newest version if left out.
        event_id: The event that woke this, to compare again what a newer champion has superseded; left out when a
            person starts it.
    """
    context = open_context(usecase)
    if not event_id:
        return await _judge(context, _challenger(context, model_version))
    verdict = "nothing to compare again"
    with context.ledger.read() as view:
        due = view.all(Revalidation, order_by="requested_at", usecase=context.name, state="requested")
    for revalidation in due:
        try:
            verdict = await _judge(context, _challenger(context, revalidation.model_version), revalidation)
        except MLOpsError as error:
            # not tried for ever: the failed run is there for a person to see
            with context.ledger.transaction() as tx:
                tx.change(revalidation, state="failed", error=str(error), finished_at=context.now())
            raise
    if not due:
        await context.tell("No model is to be compared again.")
    return verdict


async def _judge(context: Context, challenger: ModelVersion, revalidation: Revalidation | None = None) -> str:
    evaluation, report = await asyncio.to_thread(evaluate, context, challenger)
    sentence = save(context, challenger, evaluation, revalidation=revalidation)
    context.announce()
    await context.tell(
        sentence,
        f"{describe(report)}\n\nThe page with pictures: `{context.evaluation_page(evaluation.id)}`\n\n"
        f"The model card: `{context.model_card(challenger.version)}`",
    )
    return evaluation.verdict


def evaluate(context: Context, challenger: ModelVersion) -> tuple[Evaluation, EvaluationReport]:
    """Let both models score the challenger's held-out rows and judge."""
    import numpy as np

    from mlcore.modelstore import load_model
    from mlcore.training.splits import split_holdout
    from mlcore.validation import evaluate as judge

    with context.ledger.read() as view:
        alias = registry.alias(view, context.name, "champion")
        champion = view.get(ModelVersion, usecase=context.name, version=alias.version) if alias else None
    if champion is not None and champion.version == challenger.version:
        raise RegistryError(
            "a champion cannot challenge itself",
            subject=f"{context.name} version {champion.version}",
            remedy="Train a new version first.",
        )
    dataset = find_dataset(context, challenger.dataset_version)
    frame = context.datasets.read(dataset.uri, dataset.table_version).to_pandas()
    train, holdout = split_holdout(frame, context.usecase)
    model = load_model(challenger.uri, challenger.digest)
    report = judge(
        model,
        load_model(champion.uri, champion.digest) if champion else None,
        holdout,
        context.usecase,
        rng=np.random.default_rng(challenger.seed),
        train=train,
    )
    evaluation = Evaluation(
        id=str(uuid.uuid4()),
        usecase=context.name,
        model_version=challenger.version,
        champion_version=champion.version if champion else None,
        dataset_version=dataset.version,
        verdict=report.verdict,
        sentence=report.sentence,
        report=report.to_json(),
        created_at=context.now(),
    )
    failpoint("evaluation.before-page")
    _write_page(context, challenger, model.metadata, evaluation, report)
    _write_card(context, challenger, model.metadata, dataset, evaluation, report)
    return evaluation, report


def _write_page(
    context: Context,
    challenger: ModelVersion,
    metadata: ModelMetadata,
    evaluation: Evaluation,
    report: EvaluationReport,
) -> None:
    from mlcore.metrics import metric_named
    from mlcore.report.evaluation import EvaluationFacts, candidate_scores, write_evaluation_page
    from mlcore.report.trials import trials_table

    metric = metric_named(context.usecase.training.search.metric, context.usecase.contract.task)
    holdout = challenger.metrics["holdout"].get(metric.name)
    facts = EvaluationFacts(
        title=context.usecase.title,
        model_version=challenger.version,
        champion_version=evaluation.champion_version,
        algorithm=challenger.algorithm,
        model_digest=challenger.digest,
        dataset_version=evaluation.dataset_version,
        cause=challenger.cause,
        unit=context.usecase.contract.target.unit,
        candidates=candidate_scores(
            challenger.candidates,
            chosen=challenger.algorithm,
            higher_is_better=metric.higher_is_better,
            holdout=holdout,
        ),
        learning_curve=[tuple(step) for step in challenger.metrics.get("learning_curve", ())],
        search_metric=metric.name,
        trials=trials_table(
            challenger.candidates,
            algorithm=challenger.algorithm,
            parameters=challenger.parameters,
            holdout=holdout,
            higher_is_better=metric.higher_is_better,
        ),
        importance=metadata.importance,
        out_of_fold=metadata.out_of_fold,
    )
    write_evaluation_page(report, facts, context.evaluation_page(evaluation.id))


def _write_card(
    context: Context,
    challenger: ModelVersion,
    metadata: ModelMetadata,
    dataset: DatasetVersion,
    evaluation: Evaluation,
    report: EvaluationReport,
) -> None:
    from mlcore.report.card import CardFacts, write_model_card

    facts = CardFacts(
        version=challenger.version,
        digest=challenger.digest,
        cause=challenger.cause,
        created_at=challenger.created_at,
        dataset_rows=dataset.rows,
        dataset_from=dataset.time_from,
        dataset_to=dataset.time_to,
        dataset_source=dataset.source,
        champion_version=evaluation.champion_version,
    )
    write_model_card(context.usecase, metadata, report, facts, context.model_card(challenger.version))


def save(
    context: Context,
    challenger: ModelVersion,
    evaluation: Evaluation,
    lease: Lease | None = None,
    revalidation: Revalidation | None = None,
) -> str:
    """Write the verdict, what follows from it and its announcement in one transaction; return what to say."""
    failpoint("evaluation.before-save")
    with context.ledger.transaction() as tx:
        if lease is not None:
            leases.require(tx, lease, context.now())
        if revalidation is not None:
            asked = tx.get(Revalidation, approval_id=revalidation.approval_id)
            if asked is None or asked.state != "requested":
                return f"Version {challenger.version} was compared again by another run already."
        tx.add(evaluation)
        failpoint("evaluation.after-verdict")
        _approval.replace(tx, evaluation, context.now())
        tx.audit(
            usecase=context.name,
            actor=context.actor,
            action="model.evaluated",
            subject=f"{context.name}/model/{challenger.version}",
            at=context.now(),
            evaluation=evaluation.id,
            verdict=evaluation.verdict,
            champion=evaluation.champion_version,
        )
        return _follow_up(tx, context, challenger, evaluation)


def describe(report: EvaluationReport) -> str:
    """Return the guards as a Markdown table."""
    from mlcore.report.markdown import table

    rows = [(_MARKS[guard.outcome], f"{guard.kind}: {guard.name}", guard.sentence) for guard in report.guards]
    return table(("holds", "guard", "what was found"), rows)


def _follow_up(tx: Transaction, context: Context, challenger: ModelVersion, evaluation: Evaluation) -> str:
    verdict, approval = evaluation.verdict, "not-needed"
    sentence = f"{verdict}: {evaluation.sentence}"
    if verdict == "promote" and _approval.is_needed(tx, context.usecase, challenger, evaluation):
        _approval.request(tx, context.usecase, challenger, evaluation, context.now())
        approval = "needed"
        sentence += " It waits for a person's approval."
    for revalidation in tx.all(Revalidation, usecase=context.name, model_version=challenger.version, state="requested"):
        tx.change(revalidation, state="done", evaluation_id=evaluation.id, finished_at=context.now())
    # the champion may have changed while the models were compared
    _approval.close_all_over(tx, context.name, context.now())
    if verdict != "reject":
        registry.challenge(
            tx, context.name, challenger.version, actor=context.actor, reason=sentence, now=context.now()
        )
    tx.announce(
        Event(
            events.MODEL_REJECTED if verdict == "reject" else events.MODEL_VALIDATED,
            context.name,
            key=evaluation.id,
            occurred=context.now(),
            payload={"model_version": challenger.version, "evaluation_id": evaluation.id},
            labels={"ml.verdict": verdict, "ml.approval": approval},
        )
    )
    return sentence


def _challenger(context: Context, version: int | None) -> ModelVersion:
    with context.ledger.read() as view:
        if version is None:
            model = view.first(ModelVersion, order_by="-version", usecase=context.name)
        else:
            model = view.get(ModelVersion, usecase=context.name, version=version)
    if model is None:
        raise RegistryError(
            "no such model version",
            subject=context.name,
            expected="a trained version",
            got=f"version {version}" if version is not None else "none yet",
            remedy="Run train/default first.",
        )
    return model
