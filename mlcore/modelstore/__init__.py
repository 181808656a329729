"""Model files: one immutable folder a version, checked before anything in it is believed."""

from mlcore.modelstore.bundle import LoadedModel, ModelBundle, ModelMetadata
from mlcore.modelstore.loading import load_model, load_performance, load_reference
from mlcore.modelstore.places import copy_place
from mlcore.modelstore.saving import save_model

__all__ = [
    "LoadedModel",
    "ModelBundle",
    "ModelMetadata",
    "copy_place",
    "load_model",
    "load_performance",
    "load_reference",
    "save_model",
]
