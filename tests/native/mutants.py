"""Places where the kernel is broken on purpose, one at a time: the suite must notice each."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """In `native/<file>`, the first `right` becomes `wrong`."""

    file: str
    right: str
    wrong: str


MUTANTS = (
    # the equations
    Mutant("train.cpp", "1 - 2 * eta * request.l2", "1 - eta * request.l2"),
    Mutant("train.cpp", "eta / static_cast<double>(last)", "eta / static_cast<double>(batch)"),
    Mutant("train.cpp", "shape.N % batch == 0 ? batch : shape.N % batch", "batch"),
    Mutant("softmax.hpp", "scratch[label * lanes + lane] -= T(1);", ";"),
    Mutant("softmax.hpp", "if (job.weights) weigh_factors(job);", ";"),
    Mutant("softmax.hpp", "job.weights[job.source->row(row)]", "job.weights[row]"),
    Mutant("softmax.hpp", "loss += lane_weight(job, job.first + job.row + lane) *", "loss +="),
    Mutant("softmax.hpp", "*job.loss += lane_weight(job, job.first + lane) *", "*job.loss +="),
    Mutant("softmax.hpp", "load<T>(s) - top)", "load<T>(s))"),
    Mutant("softmax.hpp", "slice < job.slices; ++slice", "slice < job.slices - 1; ++slice"),
    Mutant("softmax.hpp", "~(s <= top)", "(s >= top)"),
    Mutant(
        "softmax.hpp", "*job.correct += best[lane] == label", "*job.correct += best[lane] != label"
    ),
    Mutant("exponential.hpp", "1.f / 6, .5f", "1.f / 6, .5001f"),
    Mutant("exponential.hpp", "lowest = -87.0f", "lowest = -3.0f"),
    Mutant(
        "backward.hpp",
        "fma(rate, acc[c][1], load<T>(w + lanes) * shrink)",
        "fma(rate, acc[c][1], load<T>(w + lanes))",
    ),
    Mutant("backward.hpp", "if (!tile.first)", "if (false)"),
    Mutant("backward.hpp", "chunk + 1 == chunks", "chunk == 0"),
    Mutant(
        "backward.hpp",
        "tile.gradient[c * tile.gradient_stride + d] +=",
        "tile.gradient[c * tile.gradient_stride + d] =",
    ),
    Mutant("batch_loop.cpp", "plan_.bias[begin + c] -=", "plan_.bias[begin + c] +="),
    Mutant(
        "batch_loop.cpp", "if (!last) forward(own, t + 1, s);", "if (!last) forward(own, t, s);"
    ),
    Mutant(
        "batch_loop.cpp", "full ? plan_.rate.data() : plan_.last_rate.data()", "plan_.rate.data()"
    ),
    Mutant("gradient.cpp", "request.gradient_b[i] /= n", "request.gradient_b[i] /= 1"),
    # what is read
    Mutant("jobs.hpp", "order ? order[i] : i", "i"),
    Mutant(
        "load_rows.hpp",
        "load<T>(job.scale + d), load<T>(job.offset + d)",
        "load<T>(job.scale + d), load<T>(job.offset)",
    ),
    Mutant("load_rows.hpp", "i < job.features; ++i) tail", "i + 1 < job.features; ++i) tail"),
    Mutant(
        "packed_weights.hpp",
        "W + c * slices_.D + slices_.begin(s), bytes(s)",
        "W + c * slices_.D, bytes(s)",
    ),
    Mutant("packed_weights.hpp", "common_ ? static_cast<T>(scale[0]) : T(1)", "T(1)"),
    Mutant("packed_weights.hpp", "&& all_equal(offset, 0, slices.D)", ""),
    Mutant("packed_weights.hpp", "all_equal(scale, scale[0], slices.D) &&", ""),
    Mutant("backward.hpp", "-tile.rate[c] * tile.factor", "-tile.rate[c]"),
    Mutant("backward.hpp", "static_cast<double>(tile.factor)", "1.0"),
    Mutant("evaluate.cpp", "job.accumulate = slice > 0", "job.accumulate = false"),
    Mutant("evaluate.cpp", "job.bias = slice == 0 ? request_.b : nullptr", "job.bias = nullptr"),
    Mutant("arguments.cpp", "label < 0 || label >= K", "label < 0 || label > K"),
    # the same bits, whatever the threads and the neighbours
    Mutant("shapes.hpp", "return s * width;", "return s * (width - panel);"),
    Mutant(
        "lane_sums.hpp",
        "reversed * 2 + ((value & bit) ? 1 : 0)",
        "reversed * 2 + ((value & bit) ? 0 : 1)",
    ),
    Mutant(
        "partition.hpp",
        "part_begin(slices.count, slice_parts, i + 1)",
        "part_begin(slices.count, slice_parts, i) + 1",
    ),
    Mutant("barrier.hpp", "if (threads_ == 1) return;", "return;"),
    Mutant("evaluate.cpp", "chunk * shape_.R + r;\n      job.correct", "r;\n      job.correct"),
)
