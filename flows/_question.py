"""What a person reads above the approval form: the question, the evidence, and why the last answer did not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flows._approval import answers
from mlcore import approval as rules
from mlcore import registry
from mlcore.errors import ApprovalError
from mlcore.ledger.records import Approval, DatasetVersion, DecisionRecord, Evaluation, ModelVersion

if TYPE_CHECKING:
    from flows._context import Context

#: Kinds of guards that say what holds only in other words than their names.
_HELD: Final = {
    "leak": "no leak",
    "baseline": "better than the baseline",
    "guard_metric": "not worse",
    "bad_rows": "answers rows with",
    "labels": "enough",
}
#: Characters of a digest that tell models apart; all of it makes the form scroll sideways.
_DIGEST_SHOWN: Final = len("sha256:") + 12


def question(context: Context, approval: Approval) -> str:
    """Return the text in Markdown.

    Raises
    ------
    ApprovalError
        If the ledger has lost what is asked about.
    """
    with context.ledger.read() as view:
        model = view.get(ModelVersion, usecase=context.name, version=approval.model_version)
        evaluation = view.get(Evaluation, id=approval.evaluation_id)
        dataset = view.get(DatasetVersion, usecase=context.name, version=approval.dataset_version)
        given = answers(view, approval.id)
        decision = (
            view.first(DecisionRecord, usecase=context.name, cause_key=model.cause_key) if model is not None else None
        )
        starter = registry.starter(view, model) if model is not None else ""
    if model is None or evaluation is None:
        raise ApprovalError(
            "what is asked about is gone",
            subject=approval.id,
            expected=f"version {approval.model_version} and evaluation {approval.evaluation_id} in the ledger",
            got="only one of them" if model is not None or evaluation is not None else "neither",
            remedy="Restore the ledger; the approval expires by itself.",
        )
    policy, report = context.usecase.approval, evaluation.report
    guards, change = report.get("guards", []), report.get("change_fraction")
    agreed = rules.agreed(policy, given)
    mine = [answer for answer in given if answer.flow_run_id == context.run_id]
    last = max(mine, key=lambda answer: answer.attempt, default=None)
    lines = [f"**{last.refusal}**", ""] if last is not None and last.refusal else []
    lines += [
        f"## May version {model.version} of {context.usecase.title} serve?",
        evaluation.sentence,
        "",
        f"- **why it was trained**: {decision.sentence if decision else model.cause}",
        *([f"- **who started it**: {starter}"] if starter else []),
        f"- **algorithm**: {model.algorithm}, dataset version {approval.dataset_version}{_rows(dataset)}",
        *_compared(evaluation),
        *_guards(guards),
        *([f"- **change of the champion's answers**: {change:.1%}"] if change is not None else []),
        *_slices(report),
        f"- **model digest**: `{approval.model_digest[:_DIGEST_SHOWN]}…`",
        f"- **report**: `{context.evaluation_page(evaluation.id)}`",
        f"- **where it was made**: [the run in this UI]({context.settings.ui_url}/runs/flow-run/{model.flow_run_id})",
        f"- **answer by**: {approval.expires_at:%Y-%m-%d %H:%M} UTC; no answer means no",
        f"- **who may answer**: {', '.join(policy.approvers)}"
        + ("" if policy.self_approval else "; who started the training may only reject"),
    ]
    if policy.quorum > 1:
        said = f", {', '.join(agreed)} did" if agreed else ""
        lines.append(f"- **how many must agree**: {policy.quorum}{said}; one no rejects")
    return "\n".join(lines)


def _rows(dataset: DatasetVersion | None) -> str:
    if dataset is None:
        return ""
    since, until = dataset.time_from, dataset.time_to
    return f": {dataset.rows:,} rows" + (f" of {since:%Y-%m-%d} to {until:%Y-%m-%d}" if since and until else "")


def _compared(evaluation: Evaluation) -> list[str]:
    """Return which model this one would replace, and on how many rows both were looked at."""
    rows, champion = evaluation.report.get("rows"), evaluation.champion_version
    if rows is None:
        return []
    if champion is None:
        opponent = "the dummy baseline, since there is no champion yet"
    elif evaluation.report.get("opponent") == "dummy":
        opponent = f"the dummy baseline, since version {champion}, the champion, cannot be compared"
    else:
        opponent = f"version {champion}, the champion"
    return [f"- **compared with**: {opponent}, on the same {rows:,} held-out rows"]


def _guards(guards: Sequence[Mapping[str, Any]]) -> list[str]:
    held: dict[str, list[str]] = {}
    for guard in guards:
        if guard["outcome"] == "passed":
            held.setdefault(_HELD.get(guard["kind"], guard["kind"]), []).append(guard["name"])
    kinds = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in held.items())
    told = [f"- **guards**: {sum(map(len, held.values()))} of {len(guards)} hold{': ' if held else ''}{kinds}"]
    told += [f"  - not held: {guard['sentence']}" for guard in guards if guard["outcome"] == "failed"]
    return told + [f"  - not judged: {guard['sentence']}" for guard in guards if guard["outcome"] == "not_judged"]


def _slices(report: Mapping[str, Any]) -> list[str]:
    judged = [item for item in report.get("slices", ()) if item["difference"] is not None]
    if not judged:
        return []
    worst = max(judged, key=lambda item: item["difference"]["value"])
    told = f"{worst['column']} {worst['slice']}, difference in loss {worst['difference']['value']:+.4g}"
    return [f"- **slices**: {len(judged)} compared; the least gain is of {told} (negative is better)"]
