"""What a model file may contain: one fixed list, written by people, never by the file."""

from __future__ import annotations

from typing import Final

#: Besides the public scikit-learn and numpy types that skops itself trusts: our two steps, and the inner parts
#: of scikit-learn's trees, boosting, neighbours and calibration. Each was read for what loading it executes.
#: Never extended from ``skops.io.get_untrusted_types``: that would let the file choose what is trusted.
TRUSTED_TYPES: Final = (
    "mlcore.training.features.ModelFeatures",
    "mlcore.training.preparation.Preparation",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
