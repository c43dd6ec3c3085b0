"""A model in other tools' words: ONNX, scikit-learn, PyTorch.

onnx        one graph: raw rows in, label and probabilities out, tested before it is written
sklearn     a fitted LogisticRegression of raw rows
torch       the state dict of a torch.nn.Linear of raw rows

Each module imports its library when it is called, and says how to install it where it is missing.
"""

from onelayer.model.export import SelfTest, export_onnx, export_state_dict, to_sklearn, to_torch

__all__ = ["SelfTest", "export_onnx", "export_state_dict", "to_sklearn", "to_torch"]
