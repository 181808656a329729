"""How well the served model does: realised where labels are there."""

from mlcore.performance.realised import Performance, realised

__all__ = ["Performance", "realised"]
