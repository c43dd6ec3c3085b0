"""Estimators for scikit-learn: a softmax classifier, its path, and LogisticRegression's names."""

try:
    from onelayer.sklearn.classifier import SoftmaxClassifier, SoftmaxClassifierCV
    from onelayer.sklearn.converter import register
    from onelayer.sklearn.logistic import LogisticRegression, LogisticRegressionCV
except ModuleNotFoundError as error:
    if not str(error.name).startswith("sklearn"):
        raise
    raise ModuleNotFoundError(
        "estimators need scikit-learn, which is not installed: pip install 'onelayer[sklearn]'.",
        name="sklearn",
    ) from None

register((SoftmaxClassifier, SoftmaxClassifierCV, LogisticRegression, LogisticRegressionCV))

__all__ = [
    "LogisticRegression",
    "LogisticRegressionCV",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
]
