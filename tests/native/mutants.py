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
    Mutant("column_steps.hpp", "1 - 2 * eta * l2", "1 - eta * l2"),
    Mutant("column_steps.hpp", "eta / static_cast<double>(count)", "eta"),
    Mutant("batch_loop.cpp", "own.steps.set(t, count(t),", "own.steps.set(t, plan_.batch_size,"),
    Mutant(
        "residual.hpp",
        "job.scratch[label_at(job, lane) * kLanes<T> + lane] -= target",
        "(void)target",
    ),
    Mutant("residual.hpp", "if (job.weights) weigh_factors(job);", ";"),
    Mutant("residual.hpp", "job.weights[job.source->row(row)]", "job.weights[row]"),
    Mutant("residual.hpp", "loss += lane_weight(job, job.first + job.row + lane) *", "loss +="),
    Mutant("judge.hpp", "*job.loss += lane_weight(job, job.first + lane) *", "*job.loss +="),
    Mutant("residual.hpp", "load<T>(s) - top)", "load<T>(s))"),
    Mutant("residual.hpp", "slice < job.slices; ++slice", "slice < job.slices - 1; ++slice"),
    Mutant("judge.hpp", "~(s <= best.score)", "(s >= best.score)"),
    Mutant("judge.hpp", "best.number[lane] == label_at", "best.number[lane] != label_at"),
    Mutant("exponential.hpp", "1.f / 6, .5f", "1.f / 6, .5001f"),
    Mutant("exponential.hpp", "lowest = -87.0f", "lowest = -3.0f"),
    Mutant("step.hpp", "fma(rate, G, w * shrink)", "fma(rate, G, w)"),
    Mutant("backward.hpp", "step(acc[c][1], load", "step(acc[c][0], load"),
    Mutant("backward.hpp", "if (!tile.first)", "if (false)"),
    Mutant("backward.hpp", "chunk + 1 == chunks", "chunk == 0"),
    Mutant(
        "backward.hpp",
        "tile.gradient[c * tile.gradient_stride + d] +=",
        "tile.gradient[c * tile.gradient_stride + d] =",
    ),
    Mutant("column_steps.hpp", "b -= step.rate * sum", "b += step.rate * sum"),
    Mutant(
        "batch_loop.cpp", "if (!last) forward(own, t + 1, s);", "if (!last) forward(own, t, s);"
    ),
    Mutant("gradient.cpp", "request.gradient_b[i] /= n", "request.gradient_b[i] /= 1"),
    # momentum, averages, schedules
    Mutant("column_steps.hpp", "learning_rate[t * shape_.R + run]", "learning_rate[run]"),
    Mutant("column_steps.hpp", "share(run, t - 1) != 1", "share(run, t) != 1"),
    Mutant("column_steps.hpp", "t == 0 ||", "t > 0 &&"),
    Mutant("column_steps.hpp", "plain_ && step.momentum == 0", "plain_"),
    Mutant("column_steps.hpp", "static_cast<T>(2 * l2)", "static_cast<T>(l2)"),
    Mutant("column_steps.hpp", "step.nesterov ? g + step.momentum * *v : *v", "*v"),
    Mutant("column_steps.hpp", "if (!step.averaged_before) *a = before;", ""),
    Mutant("column_steps.hpp", "*a += step.share * (b - *a)", "*a += step.share * (before - *a)"),
    Mutant("step.hpp", "fma(splat<T>(step.decay), w, G", "fma(splat<T>(step.decay), G, G"),
    Mutant("step.hpp", "splat<T>(step.mean * factor)", "splat<T>(step.mean)"),
    Mutant(
        "step.hpp", "fma(momentum, load<T>(velocity), g)", "fma(momentum, g, load<T>(velocity))"
    ),
    Mutant("step.hpp", "step.nesterov ? fma(momentum, v, g) : v", "v"),
    Mutant("step.hpp", "store<T>(velocity, v);", ""),
    Mutant(
        "step.hpp", "step.averaged_before ? load<T>(at.average) : before", "load<T>(at.average)"
    ),
    Mutant("step.hpp", "share), w - a, a)", "share), before - a, a)"),
    Mutant("train.cpp", "(done - 1) * shape.R", "0 * shape.R"),
    Mutant(
        "train.cpp",
        "std::copy_n(request.weights.b + run * K",
        "if (run > 0) std::copy_n(request.weights.b + run * K",
    ),
    # the losses
    Mutant("residual.hpp", "-job.objective.smoothing / ", "job.objective.smoothing / "),
    Mutant("residual.hpp", "score < 0 ? e : one", "one"),
    Mutant("residual.hpp", "(one + e) - others)", "(one + e))"),
    Mutant("residual.hpp", "job.objective.sigmoid ? own / static_cast<double>(job.K) : own", "own"),
    Mutant("exponential.hpp", "x < 0 ? x : -x", "x"),
    Mutant("judge.hpp", "if (epsilon > 0) losses[lane] -=", "if (epsilon > 0) losses[lane] +="),
    Mutant(
        "judge.hpp",
        "(1 - epsilon) * static_cast<double>(label_score(job, lane) -",
        "static_cast<double>(label_score(job, lane) -",
    ),
    Mutant("judge.hpp", "fma(others, s, s < 0 ? Vec<T>{} : s)", "s < 0 ? Vec<T>{} : s"),
    Mutant(
        "judge.hpp", "static_cast<double>(curved[lane])) / K", "static_cast<double>(curved[lane]))"
    ),
    Mutant("logarithm.hpp", "sizeof(T) == 4 ? 8 : 17", "sizeof(T) == 4 ? 7 : 15"),
    Mutant("logarithm.hpp", "T(2 * i + 1)", "T(2 * i + 2)"),
    Mutant("evaluate.cpp", "request_.objectives.of(r)", "request_.objectives.of(0)"),
    Mutant("batch_loop.cpp", "objectives.of(job.run)", "objectives.of(0)"),
    # what is read
    Mutant("forward.hpp", "score += bias[c]", "score += bias[0]"),
    Mutant("forward.hpp", "column[n] += scores[n]", "column[n] = scores[n]"),
    Mutant("forward.hpp", "for (; d < tile.width; d += lanes)", "for (; d < 0; d += lanes)"),
    Mutant("jobs.hpp", "order ? order[i] : i", "i"),
    Mutant(
        "load_rows.hpp",
        "load<T>(scaling.scale + d), load<T>(scaling.offset + d)",
        "load<T>(scaling.scale + d), load<T>(scaling.offset)",
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
    Mutant("step.hpp", "splat<T>(-step.rate * factor)", "splat<T>(-step.rate)"),
    Mutant("mirror.hpp", "kMirrorLanes<S> - 1 - I", "I"),
    Mutant("mirror.hpp", "from[count - 1 - i]", "from[i]"),
    Mutant("mirror.hpp", "d / width * width", "begin"),
    Mutant("mirror.hpp", "smaller(end, line + width)", "line + width"),
    Mutant("load_rows.hpp", "!job.rows.flipped[i]", "!job.rows.flipped[n]"),
    Mutant("backward.hpp", "static_cast<double>(tile.factor)", "1.0"),
    Mutant("evaluate.cpp", "job.accumulate = slice > 0", "job.accumulate = false"),
    Mutant("evaluate.cpp", "job.bias = slice == 0 ? request_.b : nullptr", "job.bias = nullptr"),
    Mutant("arguments.cpp", "label < 0 || label >= K", "label < 0 || label > K"),
    Mutant("arguments.cpp", "D % image_width != 0", "false"),
    # the same bits, whatever the threads and the neighbours
    Mutant("step.hpp", "step.momentum > 0 ?", "at.velocity ?"),
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
