"""The mathematics in float64, the oracle: losses, penalty, cost and the gradient check."""
