"""The engine for accelerators and clusters: PyTorch does the arithmetic, on one device a process.

device         which device, what it can hold, what its products round to
distributed    the processes that share the rows, and the sums over them
rows           rows on the device: as stored, or streamed; scaled, with a 1 for the bias
optimizer      weights, slots, losses and the step
trainer        epochs, load by load as CUDA graphs; evaluation and predictions
engine         the engine itself, and scores of fixed weights for certificates

This is the only part of onelayer, beside its export, that imports torch.
"""

from onelayer.engines.torch.engine import TorchEngine, make_torch_engine

__all__ = ["TorchEngine", "make_torch_engine"]
