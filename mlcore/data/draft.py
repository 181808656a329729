"""Writing a draft down: usecase.yaml with what was guessed, and what to do where the guess is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mlcore.errors import UseCaseError
from mlcore.policy.monitoring import PerformancePolicy

_HEADER: Final = """\
# yaml-language-server: $schema=../usecase.schema.json
# A first draft, made by `mlops init` from {source}: what was guessed is said beside it.
# Every key is explained in docs/usecase.md.
"""
_WIDTH: Final = 110
_WORSE: Final = PerformancePolicy().maximum_worsening_fraction


def write_usecase(values: dict[str, Any], folder: Path, source: str) -> Path:
    """Write ``usecase.yaml`` into a new folder and return its path.

    Raises
    ------
    UseCaseError
        If there is one already, or the draft would not load.
    """
    from mlcore.usecase import FILE_NAME, parse_usecase

    path = folder / FILE_NAME
    if path.exists():
        raise UseCaseError("there is a use case already", subject=str(path), remedy="Choose another name.")
    parse_usecase(values, source=str(path))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_HEADER.format(source=Path(source).name) + commented(values), encoding="utf-8")
    return path


def commented(values: dict[str, Any]) -> str:
    """Return the YAML of a draft with comments: what `mlops init` decided, and the remedy."""
    import yaml

    parts = []
    for section, content in values.items():
        lines = yaml.safe_dump({section: content}, sort_keys=False, allow_unicode=True, width=_WIDTH).splitlines()
        parts += [f"# {line}" for line in _on_section(section, values)]
        for line in lines:
            if section == "contract" and line.startswith("  - name: "):
                entry = next(item for item in content["columns"] if line == f"  - name: {_plain(item['name'])}")
                parts += [f"  # {told}" for told in _on_column(entry, values)]
            parts.append(line)
    return "\n".join(parts) + "\n"


def _plain(name: str) -> str:
    """Return a name as YAML has it: some words are quoted there."""
    import yaml

    return yaml.safe_dump(name, allow_unicode=True).splitlines()[0]


def _on_column(facts: dict[str, Any], values: dict[str, Any]) -> list[str]:
    told = []
    role, kind = facts.get("role", "feature"), facts["type"]
    if role == "time":
        made = f"what {', '.join(facts['made_of'])} say together" if facts.get("made_of") else "this column"
        others = [
            item["name"] for item in values["contract"]["columns"] if item["type"] == "timestamp" and item is not facts
        ]
        besides = f" Other times, which no model sees: {', '.join(others)}." if others else ""
        told.append(f"Rows are ordered by {made}; times without a zone are UTC.{besides} Another: mlops init --time.")
    elif role == "metadata" and facts.get("description"):
        told.append("No feature, as the description says. If it is one: role: feature; if it identifies a row: key.")
    elif role == "metadata" and kind == "text":
        told.append("No feature: too many different texts. If a model may use it: type: category, without role.")
    if facts.get("missing_as"):
        marks = ", ".join(facts["missing_as"])
        told.append(f"{marks} was taken for a missing value. If it is a value, take it out of missing_as.")
    if facts.get("unit"):
        told.append(f"{facts['unit']}: as the header says. Values in another unit are told by it.")
    return told


def _on_section(section: str, values: dict[str, Any]) -> list[str]:
    has_time = any(item.get("role") == "time" for item in values["contract"]["columns"])
    if section == "contract":
        return [
            "Ranges are those of the file, widened by half of their span on either side; categories those of the file.",
            "A window where more is outside than minimum_valid_fraction leaves room for is a data fault: narrow the",
            "ranges to what can be, and say what may be missing. Units that no header names are not guessed: add unit.",
            *([] if has_time else ["No column orders the rows in time: without one there is no monitoring by season",
                                   "and no backtest. mlops init --time COLUMN, or --time DATE,HOUR."]),
        ]  # fmt: skip
    if section == "cleaning":
        told = {
            "exact_duplicates": "Few rows are different: equal ones are taken for cases of one kind, and all are kept.",
            "key_duplicates": "Several rows have one time: all are kept. If columns tell them apart: role: key, for "
            "them and the time.",
        }
        return [told[key] for key in values["cleaning"]]
    if section == "training":
        candidates, search = len(values["training"]["candidates"]), values["training"]["search"]
        return [
            f"The best constant answer and {candidates} algorithms are compared, in {search['trials']} trials and",
            f"{search['seconds']} seconds at most. For a better model raise both; take out what you don't want.",
            *(["The newest rows, holdout_longest at most, judge a model, and teach the next one alone."] * has_time),
        ]
    if section == "validation" and "leaks" in values["validation"]:
        return [
            "So many held-out rows are equal to a training row in this file: more would be looked at as copies.",
        ]
    if section == "approval":
        return ["A retraining that drift started waits for a person: required: never | always | by_cause."]
    if section == "monitoring":
        rule = values["monitoring"]["windows"][0]
        block = values["monitoring"].get("drift", {}).get("block")
        performance = values["monitoring"].get("performance", {})
        worse, asked = performance.get("maximum_worsening_fraction", _WORSE), performance.get("minimum_coverage")
        return [
            f"Windows of a {rule['period']}: the usual one has rows enough, and the file has enough of them. Labels",
            "are taken to be known label_wait after a window's end: say what is so with you.",
            *(
                [f"Rows within {block} depend on each other: each such block counts as one observation."]
                if block
                else []
            ),
            f"A window is harmed where the error is {worse:.0%} above that of the held-out rows:",
            "performance.maximum_worsening_fraction.",
            *(
                ["Many rows of the file have no label: a window is judged from half of the usual share of labels on."]
                if asked
                else []
            ),
        ]
    if section == "retraining":
        policy = values["retraining"]
        return [
            f"What retraining may cost at most: {policy['budget']} times in {policy['budget_period']}, not after two",
            "windows in a row; and the fewest new rows that are worth it. Inputs that move without harm are learned",
            "once the new rows are growth_fraction of those that are known: 1, as many again.",
        ]
    return []
