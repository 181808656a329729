"""Every exception of the library: each says the subject, what was expected, what was got, and the remedy."""

from __future__ import annotations

from typing import Any


class MLOpsError(Exception):
    """Base of all errors a user can cause or should read.

    Parameters
    ----------
    message : str
        What went wrong, in one clause and without a full stop.
    subject : str, default=""
        The file, key, column, version or address the error is about.
    expected : str, default=""
        What would have been right.
    got : str, default=""
        What was there instead.
    remedy : str, default=""
        What the reader can do now, as an imperative sentence.

    Examples
    --------
    >>> print(MLOpsError("unknown column", subject="hourly.csv: tmp", expected="temp", remedy="Rename it."))
    unknown column (hourly.csv: tmp): expected temp. Rename it.
    """

    def __init__(self, message: str, *, subject: str = "", expected: str = "", got: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        text = self.message + (f" ({self.subject})" if self.subject else "")
        facts = [f"expected {self.expected}"] if self.expected else []
        facts += [f"got {self.got}"] if self.got else []
        if facts:
            text += ": " + ", ".join(facts)
        return text + (f". {self.remedy}" if self.remedy else "")

    def to_json(self) -> dict[str, str]:
        """Return the parts, and the whole sentence as `text`."""
        parts = ("message", "subject", "expected", "got", "remedy")
        return {"kind": type(self).__name__, **{part: getattr(self, part) for part in parts}, "text": str(self)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Workflow state crosses processes; the default reduction would drop the keyword arguments.
        return _rebuild, (type(self), self.message, self.subject, self.expected, self.got, self.remedy)


def _rebuild(kind: type[MLOpsError], message: str, subject: str, expected: str, got: str, remedy: str) -> MLOpsError:
    return kind(message, subject=subject, expected=expected, got=got, remedy=remedy)


class CanonicalError(MLOpsError):
    """A value cannot be serialised so that every reader sees the same."""


class UseCaseError(MLOpsError):
    """A usecase.yaml is missing, malformed, or says something impossible."""


class OwnCodeError(MLOpsError):
    """A use case's own code is missing, is not what the model was trained with, or does not what it must."""


class ContractError(MLOpsError):
    """Data does not have the columns or types that its contract promises."""


class IngestError(MLOpsError):
    """A source cannot be read."""


class DatasetError(MLOpsError):
    """A dataset version is missing, damaged, or not what its record says."""


class TrainingError(MLOpsError):
    """No model can be trained from this data and this use case."""


class JournalBusyError(TrainingError):
    """Another process replays the same past; nothing was changed."""


class ValidationError(MLOpsError):
    """Two models cannot be compared on these rows."""


class ModelFileError(MLOpsError):
    """A model file is missing, truncated, tampered with, or of a kind that is not trusted."""


class RegistryError(MLOpsError):
    """A model version or alias is missing, or a name is taken."""


class StalePromotionError(RegistryError):
    """The champion changed since the promotion was prepared; nothing was changed."""


class LedgerError(MLOpsError):
    """The ledger cannot be opened, read or written."""


class NewerLedgerError(LedgerError):
    """The ledger was made by newer code; this code leaves it alone."""


class LeaseHeldError(LedgerError):
    """Another live run holds the lease; try again when it is done."""


class LeaseLostError(LedgerError):
    """This run's lease expired and was taken by another; its late results change nothing."""


class AuditError(LedgerError):
    """The audit chain does not verify."""


class ApprovalError(MLOpsError):
    """An answer to an approval is not acceptable; nothing was changed, ask again."""


class CaptureError(MLOpsError):
    """Inference records cannot be kept or read."""


class DriftError(MLOpsError):
    """A window cannot be compared with this baseline."""


class PackagingError(MLOpsError):
    """A Bento cannot be built for this model version."""


class DeploymentError(MLOpsError):
    """A Bento cannot be put into service; what served before still serves."""


class ServerError(MLOpsError):
    """The Prefect server or the service host does not answer, or refuses."""


class RefusedError(ServerError):
    """The Prefect server refuses what it was given, and will however often it is asked."""


class StorageError(MLOpsError):
    """A disk is full or broken, or a file may not be written; what was committed before stands."""


def storage_error(error: OSError) -> StorageError:
    """Return what an operating system refused as an error that a person can read.

    Examples
    --------
    >>> print(storage_error(OSError(28, "No space left on device", "ledger.db")).got)
    No space left on device
    """
    return StorageError(
        "something could not be read or written",
        subject=str(error.filename or ""),
        got=os_reason(error),
        remedy="Check free space and permissions, then start it again: what was left is carried on.",
    )


class SettingsError(MLOpsError):
    """A setting is missing or cannot work on this machine."""


def os_reason(error: OSError) -> str:
    """Return what an operating system or an object store said, in a line: stores have no error numbers.

    Examples
    --------
    >>> [os_reason(error) for error in (PermissionError(13, "Permission denied"), OSError("busy\\nagain"), OSError())]
    ['Permission denied', 'busy', 'OSError']
    """
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0][:200]
