"""What is written is true: generated pages are up to date, the README's words exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "docs/demo.md", "docs/events.md"])
def test_links_lead_somewhere(page):
    """A relative link names a file that is there."""
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_every_command_of_the_readme_exists():
    """A reader can type what is written."""
    text = (ROOT / "README.md").read_text()
    verbs = set(re.findall(r"\bmlops ([a-z]+)", text))
    done = subprocess.run(
        [sys.executable, "-m", "flows._cli", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert verbs
    assert [verb for verb in verbs if not re.search(rf"│ {verb} ", done.stdout)] == []
    targets = set(re.findall(r"`make ([a-z]+)", text)) | {"demo"}
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_no_command_imports_what_it_does_not_need():
    """--help answers at once: neither prefect nor pandas nor sklearn is imported for it."""
    heavy = ("prefect", "pandas", "sklearn", "pyarrow", "sqlalchemy")
    code = f"import sys, flows._cli.app; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
