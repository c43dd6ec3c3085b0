"""A linear probe on embeddings as large as people have them: time, memory, and what it is beside.

200 000 × 768 float16 with 100 classes, in .npy files: a path of 16 λ's, each proven to 1e-3 J, and
a sweep of 32 runs over 5 epochs, each in a process of its own whose whole memory counts; and
scikit-learn's LogisticRegression on a tenth of the rows.

    problem   the embeddings, the λ's, the settings
    judge     what every answer is held against: costs and descent in float64, by NumPy
    worker    the process in which a part is done
    measure   the parts in turn; one that fails is said and the others go on
    record    what was measured
    figures   what is asked of it
    page      its part of docs/benchmarks.md
"""
