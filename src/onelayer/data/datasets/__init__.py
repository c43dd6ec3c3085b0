"""Data sets that onelayer knows: CIFAR-10, CIFAR-100 and digits."""
