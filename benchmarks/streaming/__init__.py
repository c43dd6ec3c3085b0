"""One epoch over rows larger than the memory allowed, beside its two floors.

files     shards of embeddings on disk, and reading their bytes once
limited   a process that may take so much memory, by a control group
worker    the process that trains, from files or from memory
measure   the three in turn, and whether the answers have the same bits
"""
