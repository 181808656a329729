"""`mlops models` and `mlops reproduce`: what the registry holds, and the same model made again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flows._cli.installation import Answer, load, open_ledger
from flows.settings import settings
from mlcore.errors import DatasetError, RegistryError
from mlcore.ledger.records import Alias, DatasetVersion, Evaluation, ModelVersion

if TYPE_CHECKING:
    from mlcore.ledger.store import View


def models(usecase: str, version: int | None) -> Answer:
    """Return the model versions of a use case, or one in full."""
    here = settings()
    name = load(here, usecase).name
    with open_ledger(here).read() as view:
        found = view.all(ModelVersion, order_by="version", usecase=name)
        aliases = view.all(Alias, usecase=name)
        evaluations = view.all(Evaluation, order_by="created_at", usecase=name)
    named = {item.version: [a.alias for a in aliases if a.version == item.version] for item in found}
    if version is not None:
        model = next((item for item in found if item.version == version), None)
        if model is None:
            raise RegistryError("no such model version", subject=f"{name} {version}", remedy=f"`mlops models {name}`")
        judged = [asdict(item) for item in evaluations if item.model_version == version]
        facts = {**asdict(model), "aliases": named[version], "evaluations": judged}
        lines = [f"{key:<16} {facts[key]}" for key in ("version", "aliases", "algorithm", "digest", "dataset_version")]
        lines += [
            f"{key:<16} {facts[key]}" for key in ("code_commit", "lock_digest", "seed", "parameters", "cause_key")
        ]
        return facts, "\n".join(lines + [f"{item['verdict']:<16} {item['sentence']}" for item in judged])
    rows = [
        f"{item.version:>4}  {item.created_at:%Y-%m-%d %H:%M}  {item.algorithm:<20} {item.cause:<8} "
        f"{', '.join(named[item.version])}"
        for item in found
    ]
    return [{**asdict(item), "aliases": named[item.version]} for item in found], "\n".join(rows) or "No model yet."


def reproduce(model: str, *, search: bool) -> Answer:
    """Train a registered model again and compare digests."""
    from mlcore.data.datasets import DatasetStore, StoredTable
    from mlcore.modelstore import load_model
    from mlcore.owncode import find_code
    from mlcore.reproduction import reproduce as again
    from mlcore.training.provenance import provenance

    here = settings()
    with open_ledger(here).read() as view:
        known = _model(view, model)
        dataset = view.get(DatasetVersion, usecase=known.usecase, version=known.dataset_version)
    if dataset is None:
        raise DatasetError("no such dataset version", subject=f"{known.usecase} {known.dataset_version}")
    store = DatasetStore(here.lake_root)
    store.verify(StoredTable(dataset.uri, dataset.table_version, dataset.digest, dataset.rows))
    frame = store.read(dataset.uri, dataset.table_version).to_pandas()
    code = provenance(Path(__file__).parents[2])
    find_code(here.usecases / known.usecase)
    found = again(load_model(known.uri, known.digest), frame, code, search=search)
    named = f"{known.usecase} version {known.version}, {known.algorithm}, dataset version {known.dataset_version}"
    return {"model": named, **found.to_json()}, f"{named}\n{found.sentence}"


def _model(view: View, model: str) -> ModelVersion:
    """Return the model that is meant: a digest, use case/version, or a use case for its newest version."""
    usecase, _, version = model.partition("/")
    if model.startswith("sha256:"):
        found = view.first(ModelVersion, order_by="-created_at", digest=model)
    elif version:
        number = int(version) if version.isdigit() else -1
        found = view.get(ModelVersion, usecase=usecase, version=number)
    else:
        found = view.first(ModelVersion, order_by="-version", usecase=usecase)
    if found is None:
        raise RegistryError(
            "no such model",
            subject=model,
            expected="a model's digest, or use case/version such as bikeshare/3",
            remedy="`mlops models USECASE` lists them.",
        )
    return found
