"""A Bento carries the use case's own code beside the model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bentos.packaging import build
from mlcore.modelstore import ModelMetadata, save_model
from mlcore.training.run import golden_rows, train_model
from mlcore.usecase import load_usecase
from tests.support import churn_rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.journey

CODE = "def per_call(columns):\n    return columns['monthly_fee'] / (columns['calls'] + 1)\n"
STEP = "{kind: own, columns: [monthly_fee, calls], function: per_call}"
SERVE = """
import asyncio
from pathlib import Path
from bentos import service
scorer = service.load(Path("bundle")).scorer
print(asyncio.run(scorer.output([{"monthly_fee": 20.0, "calls": 3, "plan": "pro"}])).probabilities[0, 1])
"""


def test_a_bento_answers_with_the_code_it_carries_and_not_with_other_code(tmp_path: Path) -> None:
    """Away from the project the answers are the same; with the code changed the service does not even start."""
    folder = tmp_path / "churn"
    folder.mkdir()
    text = (ROOT / "tests" / "usecases" / "churn" / "usecase.yaml").read_text()
    (folder / "usecase.yaml").write_text(text.replace("training:\n", f"training:\n  features: [{STEP}]\n", 1))
    (folder / "features.py").write_text(CODE)
    usecase, frame = load_usecase(folder), churn_rows(400)
    trained = train_model(frame, usecase, seed=0)
    metadata = ModelMetadata(trained.algorithm, trained.estimator, {}, 0, trained.metric, {}, 1, 1)
    model = save_model(trained, tmp_path / "models", usecase, metadata, golden_rows(frame, usecase))
    bento = build(
        model_uri=model.uri,
        model_digest=model.digest,
        usecase=usecase,
        model_version=1,
        bentoml_home=tmp_path / "bentoml",
        lock_file=ROOT / "requirements.lock",
    )
    shutil.rmtree(folder)
    src = bento.path / "src"
    row = frame.head(1).assign(monthly_fee=20.0, calls=3, plan="pro", customer_id=0)
    expected = trained.pipeline.predict_proba(row)[0, 1]

    def serve() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(src)}
        command = [sys.executable, "-c", SERVE]
        return subprocess.run(command, cwd=src, env=environment, capture_output=True, text=True, check=False)

    answered = serve()
    assert json.loads(answered.stdout) == expected, answered.stderr
    (src / "bundle" / "usecase" / "features.py").write_text(CODE + "# other\n")
    refused = serve()
    assert refused.returncode != 0
    assert "OwnCodeError: the code that the model was trained with is not there" in refused.stderr
