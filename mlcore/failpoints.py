"""Named places where a test kills the process or breaks the disk: a comparison with None where nothing is armed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mlcore.errors import SettingsError

#: Every failpoint, in the order of the loop. ``before`` the change can be seen by others, ``after`` it can.
NAMES: Final = (
    "ledger.before-commit",
    "ledger.after-commit",
    "audit.after-append",
    "outbox.before-post",
    "outbox.after-post",
    "datasets.before-write",
    "datasets.after-write",
    "publish.before-save",
    "publish.after-save",
    "quarantine.after-keep",
    "cause.after-decision",
    "retraining.before-change",
    "retraining.after-change",
    "retraining.after-assembly",
    "lease.before-acquire",
    "lease.before-release",
    "model.before-file",
    "model.before-rename",
    "model.after-rename",
    "training.before-register",
    "training.after-register",
    "evaluation.before-page",
    "evaluation.before-save",
    "evaluation.after-verdict",
    "approval.after-request",
    "approval.after-answer",
    "approval.after-close",
    "promotion.after-alias",
    "rollback.before-deploy",
    "bento.before-build",
    "bento.before-rename",
    "bento.after-rename",
    "bento.before-record",
    "deployment.after-begin",
    "deployment.before-switch",
    "deployment.after-switch",
    "segment.before-write",
    "segment.before-seal",
    "segment.after-seal",
    "capture.before-append",
    "capture.after-append",
    "capture.before-remove",
    "window.after-close",
    "monitoring.before-save",
    "monitoring.after-record",
)
_TERM: Final = "TERM"
_ERRORS: Final = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}

Hook = Callable[[str], None]
_hook: Hook | None = None


def failpoint(name: str) -> None:
    """Pass the place called `name`."""
    if _hook is not None:
        _hook(name)


def watch(hook: Hook | None) -> None:
    """Have `hook` called with the name of each failpoint that is passed; None stops it."""
    global _hook  # noqa: PLW0603 (one process, one hook: a call must cost nothing where there is none)
    _hook = hook


def arm(order: str) -> None:
    """Do as ``name``, ``name:n`` or ``name:n:error`` says at the n-th passage of a failpoint; empty: nothing.

    Without an error the process kills itself with SIGKILL; with ``TERM`` it sends itself SIGTERM, as who ends it in an
    orderly way does; with ``ENOSPC`` or ``EIO`` an OSError is raised.

    Raises
    ------
    SettingsError
        If there is no such failpoint, number or error.
    """
    name, _, rest = order.partition(":")
    number, _, error = rest.partition(":")
    if not order:
        return
    known = error in ("", _TERM, *_ERRORS)
    if name not in NAMES or (number and (not number.isdecimal() or number == "0")) or not known:
        raise SettingsError(
            "no such failpoint",
            subject=order,
            expected="name[:passage[:TERM|ENOSPC|EIO]], a name of mlcore/failpoints.py",
            got=name,
        )
    watch(_Fault(name, int(number or 1), error))


@dataclass
class _Fault:
    """What happens at a failpoint, after so many passages."""

    name: str
    left: int
    error: str

    def __call__(self, name: str) -> None:
        if name != self.name:
            return
        self.left -= 1
        if self.left == 0:
            if self.error in _ERRORS:
                raise OSError(_ERRORS[self.error], os.strerror(_ERRORS[self.error]), name)
            os.kill(os.getpid(), signal.SIGTERM if self.error == _TERM else signal.SIGKILL)
