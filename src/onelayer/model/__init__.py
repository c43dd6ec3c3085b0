"""What every way of training returns: a model, its evaluation, its file and its exports."""

from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Evaluation, Reliability
from onelayer.model.export import SelfTest
from onelayer.model.model import Model

__all__ = ["Certificate", "Evaluation", "Model", "Reliability", "SelfTest"]
