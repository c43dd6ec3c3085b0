"""The engine torch on a GPU: joint training, its share of the device's products, a large optimum.

One process, since a device is not shared in turns as cores are; nothing else should run on it.

    clock      seconds of work on a device, and the matrix products that it reaches
    loops      what is written without onelayer: SGD in a loop, L-BFGS over all rows, cuML
    training   the four settings and 256 runs, each answer held against the float64 equations
    optimum    a probe of ImageNet's size, each answer judged in float64
    report     what was measured, as Markdown and JSON
"""
