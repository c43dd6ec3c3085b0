"""Where rows come from: `load` gives the three `Splits`, `Dataset` says what rows are.

`cached` and `fetch` look after the cache of CIFAR-10.
"""

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.datasets.cache import CacheRecord, cached, fetch
from onelayer.data.load import load
from onelayer.data.split import split

__all__ = ["CacheRecord", "Dataset", "Splits", "cached", "fetch", "load", "split"]
