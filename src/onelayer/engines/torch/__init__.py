"""The engine for accelerators and clusters: PyTorch does the arithmetic, on one device a process.

devices       which device, and what it can hold
precision     what the matrix products round their factors to
ranks         the processes that share the rows, and the sums over them
loads         which rows of an epoch are brought to the device together, and whose they are
storage       rows as stored: on the device where they fit, else streamed
machine       the device with what is there
features      rows as the equations see them, with a 1 for the bias
losses        losses and residuals of a batch, all runs at once
descent       where the runs stand on the device, and the step
graphs        many steps as one CUDA graph
room          the buffers that an epoch's rows lie in
trainer       epochs, evaluation and predictions
scores        scores of fixed weights, on the device, for the certificate
engine        the engine itself

This is the only part of onelayer, beside its export, that imports torch.
"""

from onelayer.engines.torch.engine import TorchEngine, make_torch_engine

__all__ = ["TorchEngine", "make_torch_engine"]
