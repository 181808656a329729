"""The generated pages are up to date and complete."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from docs import build, events_page
from mlcore import events
from mlcore.usecase import UseCase

ROOT = Path(__file__).parent.parent.parent
USECASES = sorted([*ROOT.glob("usecases/*/usecase.yaml"), *ROOT.glob("tests/usecases/*/usecase.yaml")])


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every generated file as it would be written now."""
    return dict(build.build())


@pytest.mark.parametrize("name", build.PAGES)
def test_committed_page_is_up_to_date(pages: dict[str, str], name: str):
    """What is committed is what the code says; `make docs` mends it."""
    assert pages[name] == (ROOT / name).read_text(encoding="utf-8")


def test_a_stale_page_is_named(tmp_path: Path):
    """A page that was never written is found to be out of date."""
    for name in ("usecases", "tests", "prefect.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    assert build.stale(tmp_path) == [name for name in build.PAGES if name.startswith("docs/")]


def test_every_key_is_described():
    """No section of usecase.yaml has a key that a reader would have to guess."""
    schema = UseCase.model_json_schema()
    sections = {"the file": schema, **schema["$defs"]}
    silent = [
        f"{section}.{key}"
        for section, body in sections.items()
        for key, facts in body["properties"].items()
        if not facts.get("description")
    ]
    assert silent == []


def test_every_event_has_a_meaning():
    """The page explains the events there are, and no others."""
    assert events_page.MEANINGS.keys() == events.PAYLOAD_KEYS.keys()


@pytest.mark.parametrize("path", USECASES, ids=lambda path: path.parent.name)
def test_schema_accepts_the_use_cases(pages: dict[str, str], path: Path):
    """An editor that checks by the schema finds nothing wrong with a file that loads."""
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(pages["usecases/usecase.schema.json"]))


def test_schema_refuses_an_unknown_key(pages: dict[str, str]):
    """An editor that checks by the schema marks a misspelt key."""
    content = yaml.safe_load(USECASES[0].read_text()) | {"trainning": {}}
    with pytest.raises(jsonschema.ValidationError, match="trainning"):
        jsonschema.validate(content, json.loads(pages["usecases/usecase.schema.json"]))
