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
    from mlcore.policy.naming import generated_names, generated_types

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
            told = f"{step.kind} of {', '.join(step.columns)}" + (f" by {', '.join(step.by)}" if step.by else "")
            names, kinds = generated_names(step, usecase.contract), generated_types(step, usecase.contract)
            for name, kind in zip(names, kinds, strict=True):
                found.append(
                    CatalogueEntry(usecase.name, name, "generated", kind, "feature", "", told, usecase.owner.email)
                )
    return found
