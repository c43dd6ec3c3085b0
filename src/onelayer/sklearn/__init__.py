"""Estimators for scikit-learn: a softmax classifier, and one that chooses λ by folds."""

try:
    from onelayer.sklearn.classifier import SoftmaxClassifier, SoftmaxClassifierCV
    from onelayer.sklearn.converter import register
except ModuleNotFoundError as error:
    if not str(error.name).startswith("sklearn"):
        raise
    raise ModuleNotFoundError(
        "estimators need scikit-learn, which is not installed: pip install 'onelayer[sklearn]'.",
        name="sklearn",
    ) from None

register((SoftmaxClassifier, SoftmaxClassifierCV))

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
