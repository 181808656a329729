"""Score a file through the champion, larger than memory, captured and monitored like online traffic."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows._context import open_context, stage
from flows.package import find_model


@stage("score-batch")
async def score_batch(usecase: str, source: str, destination: str, model_version: int | None = None) -> int:
    """Score every row of a CSV or Parquet file.

    Args:
        usecase: Name of the use case.
        source: The file to score.
        destination: The Parquet file to write; it appears only when it is whole.
        model_version: The version to score with; the champion if left out.
    """
    context = open_context(usecase)
    model = find_model(context, model_version)

    def score() -> int:
        from mlcore.capture.spool import Spool
        from mlcore.modelstore import load_model
        from mlcore.scoring import score_file

        loaded = load_model(model.uri, model.digest, context.usecase.contract)
        spool = Spool(context.settings.spool / context.name) if context.usecase.serving.capture else None
        return score_file(loaded, source, Path(destination), model_version=model.version, spool=spool).rows

    rows = await asyncio.to_thread(score)
    await context.tell(f"{rows:,} rows of {source} are scored by version {model.version} into {destination}.")
    return rows
