"""Failpoints: off they do nothing, armed they act at the passage that was asked for, a wrong order is refused."""

from __future__ import annotations

import errno

import pytest

from mlcore import failpoints
from mlcore.errors import SettingsError
from mlcore.failpoints import failpoint


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoints.watch(None)


def test_an_error_comes_at_the_passage_asked_for_and_only_there():
    """The second passage of this one; others, and later ones, pass."""
    failpoints.arm("audit.after-append:2:ENOSPC")
    failpoint("outbox.before-post")
    failpoint("audit.after-append")
    with pytest.raises(OSError, match="No space") as raised:
        failpoint("audit.after-append")
    assert raised.value.errno == errno.ENOSPC
    failpoint("audit.after-append")


def test_nothing_is_armed_by_an_empty_order():
    """What every process without the variable does."""
    failpoints.arm("")
    for name in failpoints.NAMES:
        failpoint(name)


@pytest.mark.parametrize(
    "order", ["promotion", "audit.after-append:0", "audit.after-append:x", "audit.after-append:1:EPERM"]
)
def test_an_order_that_could_never_act_is_refused(order):
    """A kill that never comes would prove nothing."""
    with pytest.raises(SettingsError, match="no such failpoint"):
        failpoints.arm(order)
