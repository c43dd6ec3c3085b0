"""Mini-batch gradient descent: settings, the loop, its record, checkpoints and sweeps."""
