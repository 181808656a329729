"""What a quality check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class QualityCheck:
    """One promise of the contract and whether it holds.

    Parameters
    ----------
    column : str
        Empty for a promise about the whole table.
    check : str
        Name of the Great Expectations expectation, snake case.
    passed : bool
    expected, observed : str
    unexpected_rows : int
    unexpected_fraction : float in [0, 1]
        Share of the values looked at.
    examples : tuple of str
        Up to five offending values.
    """

    column: str
    check: str
    passed: bool
    expected: str
    observed: str
    unexpected_rows: int = 0
    unexpected_fraction: float = 0.0
    examples: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What is wrong, or right, in one sentence."""
        subject = self.column or "the table"
        if self.passed:
            return f"{subject}: {self.expected}"
        examples = f", for example {', '.join(self.examples)}" if self.examples else ""
        return f"{subject}: expected {self.expected}, got {self.observed}{examples}"


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The outcome of all checks on one batch."""

    rows: int
    checks: tuple[QualityCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[QualityCheck, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.passed)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, "rows": self.rows, "checks": [asdict(check) for check in self.checks]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> QualityReport:
        """Return what `to_json` wrote."""
        checks = tuple(QualityCheck(**{**check, "examples": tuple(check["examples"])}) for check in values["checks"])
        return cls(rows=values["rows"], checks=checks)
