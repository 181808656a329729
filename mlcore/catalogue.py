"""What data there is: every raw and generated feature of every use case, with its meaning and its owner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlcore.usecase import UseCase


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One column or generated feature; `name` is unique within its use case."""

    usecase: str
    name: str
    kind: Literal["raw", "generated"]
    type: str
    role: str
    unit: str
    description: str
    owner: str


def catalogue(usecases: Iterable[UseCase]) -> list[CatalogueEntry]:
    """Return the entries of all use cases, raw before generated, in the order of their contracts."""
    from mlcore.training.naming import generated_names

    found = []
    for usecase in usecases:
        for column in usecase.contract.columns:
            found.append(
                CatalogueEntry(
                    usecase.name,
                    column.name,
                    "raw",
                    column.type,
                    column.role,
                    column.unit,
                    column.description,
                    column.owner or usecase.owner.email,
                )
            )
        for step in usecase.training.features:
            for name in generated_names(step, usecase.contract):
                told = f"{step.kind} of {', '.join(step.columns)}"
                found.append(
                    CatalogueEntry(usecase.name, name, "generated", "number", "feature", "", told, usecase.owner.email)
                )
    return found
