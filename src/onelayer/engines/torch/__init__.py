"""The engine for accelerators and clusters: PyTorch does the arithmetic, on one device a process.

device         which device, what it can hold, what its products round to
distributed    the processes that share the rows, and the sums over them
storage        rows as stored: on the device where they fit, else streamed
features       rows as the equations see them, with a 1 for the bias
batches        which rows of an epoch are brought to the device together
optimizer      weights, slots, losses and the step
trainer        epochs, evaluation and predictions; many steps as one CUDA graph
engine         the engine itself, and scores of fixed weights for certificates

This is the only part of onelayer, beside its export, that imports torch.
"""

from onelayer.engines.torch.engine import TorchEngine, make_torch_engine

__all__ = ["TorchEngine", "make_torch_engine"]
