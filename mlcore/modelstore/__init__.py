"""Model files: one immutable folder a version, checked before anything in it is believed."""

from mlcore.modelstore.bundle import LoadedModel, ModelBundle, ModelMetadata
from mlcore.modelstore.loading import load_model
from mlcore.modelstore.saving import save_model

__all__ = ["LoadedModel", "ModelBundle", "ModelMetadata", "load_model", "save_model"]
