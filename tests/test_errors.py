"""Errors say what is needed and cross processes whole."""

from __future__ import annotations

import pickle

import pytest

from mlcore import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MLOpsError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_pickling(kind):
    """Workflow state crosses processes: nothing of an error may be lost on the way."""
    error = kind("went wrong", subject="s", expected="e", got="g", remedy="r")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "went wrong (s): expected e, got g. r"
