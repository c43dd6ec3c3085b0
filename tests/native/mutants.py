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
    Mutant("kernel/step.hpp", "1 - 2 * eta * l2", "1 - eta * l2"),
    Mutant("kernel/step.hpp", "eta / static_cast<double>(B)", "eta"),
    Mutant(
        "kernel/batch_loop.cpp",
        "worker.steps.set(t, count(t),",
        "worker.steps.set(t, plan_.batch_size,",
    ),
    Mutant(
        "kernel/loss.hpp",
        "job.scratch[job.label(lane) * kLanes<T> + lane] -= target",
        "(void)target",
    ),
    Mutant("kernel/loss.hpp", "if (job.rows->weights) apply_weights(job);", ";"),
    Mutant("kernel/jobs.hpp", "weights[x.row(i)]", "weights[i]"),
    Mutant("kernel/loss.hpp", "loss += job.weight(lane) *", "loss +="),
    Mutant("kernel/loss.hpp", "*job.loss += job.weight(lane) *", "*job.loss +="),
    Mutant("kernel/loss.hpp", "load<T>(s) - top)", "load<T>(s))"),
    Mutant("kernel/loss.hpp", "slice < job.slices; ++slice", "slice < job.slices - 1; ++slice"),
    Mutant("kernel/loss.hpp", "~(s <= best.score)", "(s >= best.score)"),
    Mutant("kernel/loss.hpp", "best.k[lane] == job.label", "best.k[lane] != job.label"),
    Mutant("kernel/simd.hpp", "1.f / 6, .5f", "1.f / 6, .5001f"),
    Mutant("kernel/simd.hpp", "lowest = -87.0f", "lowest = -3.0f"),
    Mutant("kernel/step.hpp", "fma(rate, G, w * shrink)", "fma(rate, G, w)"),
    Mutant("kernel/backward.hpp", "step(acc[c][1], load", "step(acc[c][0], load"),
    Mutant("kernel/backward.hpp", "if (!tile.first)", "if (false)"),
    Mutant("kernel/backward.hpp", "chunk + 1 == chunks", "chunk == 0"),
    Mutant(
        "kernel/backward.hpp",
        "tile.gradient[c * tile.gradient_stride + d] +=",
        "tile.gradient[c * tile.gradient_stride + d] =",
    ),
    Mutant("kernel/step.hpp", "b -= step.eta_over_B * sum", "b += step.eta_over_B * sum"),
    Mutant(
        "kernel/batch_loop.cpp",
        "if (!last) forward(worker, t + 1, s);",
        "if (!last) forward(worker, t, s);",
    ),
    Mutant("kernel/passes.cpp", "request.gradient_b[i] /= N", "request.gradient_b[i] /= 1"),
    # momentum, averages, schedules
    Mutant("kernel/step.hpp", "learning_rate[t * shape_.R + run]", "learning_rate[run]"),
    Mutant("kernel/step.hpp", "averaging(run, t - 1) != 1", "averaging(run, t) != 1"),
    Mutant("kernel/step.hpp", "t == 0 ||", "t > 0 &&"),
    Mutant("kernel/step.hpp", "plain_ && step.momentum == 0", "plain_"),
    Mutant("kernel/step.hpp", "static_cast<T>(2 * l2)", "static_cast<T>(l2)"),
    Mutant("kernel/step.hpp", "step.nesterov ? g + step.momentum * *v : *v", "*v"),
    Mutant("kernel/step.hpp", "if (!step.has_average) *a = before;", ""),
    Mutant(
        "kernel/step.hpp", "*a += step.averaging * (b - *a)", "*a += step.averaging * (before - *a)"
    ),
    Mutant(
        "kernel/step.hpp",
        "fma(splat<T>(step.weight_decay), w, G",
        "fma(splat<T>(step.weight_decay), G, G",
    ),
    Mutant(
        "kernel/step.hpp", "splat<T>(step.one_over_B * common_scale)", "splat<T>(step.one_over_B)"
    ),
    Mutant(
        "kernel/step.hpp",
        "fma(momentum, load<T>(velocity), g)",
        "fma(momentum, g, load<T>(velocity))",
    ),
    Mutant("kernel/step.hpp", "step.nesterov ? fma(momentum, v, g) : v", "v"),
    Mutant("kernel/step.hpp", "store<T>(velocity, v);", ""),
    Mutant(
        "kernel/step.hpp", "step.has_average ? load<T>(at.average) : before", "load<T>(at.average)"
    ),
    Mutant("kernel/step.hpp", "averaging), w - a, a)", "averaging), before - a, a)"),
    Mutant("kernel/passes.cpp", "(done - 1) * shape.R", "0 * shape.R"),
    Mutant(
        "kernel/passes.cpp",
        "std::copy_n(request.weights.b + run * K",
        "if (run > 0) std::copy_n(request.weights.b + run * K",
    ),
    # the losses
    Mutant("kernel/loss.hpp", "-job.loss_kind.smoothing / ", "job.loss_kind.smoothing / "),
    Mutant("kernel/loss.hpp", "score < 0 ? e : one", "one"),
    Mutant("kernel/loss.hpp", "(one + e) - smoothing)", "(one + e))"),
    Mutant(
        "kernel/loss.hpp", "job.loss_kind.sigmoid ? own / static_cast<double>(job.K) : own", "own"
    ),
    Mutant("kernel/simd.hpp", "x < 0 ? x : -x", "x"),
    Mutant(
        "kernel/loss.hpp", "if (epsilon > 0) losses[lane] -=", "if (epsilon > 0) losses[lane] +="
    ),
    Mutant(
        "kernel/loss.hpp",
        "(1 - epsilon) * static_cast<double>(label_score(job, lane) -",
        "static_cast<double>(label_score(job, lane) -",
    ),
    Mutant(
        "kernel/loss.hpp", "fma(minus_smoothing, s, s < 0 ? Vec<T>{} : s)", "s < 0 ? Vec<T>{} : s"
    ),
    Mutant(
        "kernel/loss.hpp",
        "static_cast<double>(curved[lane])) / K",
        "static_cast<double>(curved[lane]))",
    ),
    Mutant("kernel/simd.hpp", "sizeof(T) == 4 ? 8 : 17", "sizeof(T) == 4 ? 7 : 15"),
    Mutant("kernel/simd.hpp", "T(2 * i + 1)", "T(2 * i + 2)"),
    Mutant("kernel/passes.cpp", "request_.loss_kinds.of(r)", "request_.loss_kinds.of(0)"),
    Mutant("kernel/batch_loop.cpp", "loss_kinds.of(job.run)", "loss_kinds.of(0)"),
    # what is read
    Mutant("kernel/forward.hpp", "score += bias[c]", "score += bias[0]"),
    Mutant("kernel/forward.hpp", "column[n] += scores[n]", "column[n] = scores[n]"),
    Mutant("kernel/forward.hpp", "for (; d < tile.width; d += lanes)", "for (; d < 0; d += lanes)"),
    Mutant("kernel/jobs.hpp", "order ? order[i] : i", "i"),
    Mutant(
        "kernel/load_rows.hpp",
        "load<T>(scaling.scale + d), load<T>(scaling.offset + d)",
        "load<T>(scaling.scale + d), load<T>(scaling.offset)",
    ),
    Mutant(
        "kernel/load_rows.hpp", "i < job.features; ++i) tail", "i + 1 < job.features; ++i) tail"
    ),
    Mutant(
        "kernel/memory.hpp",
        "W + c * slices_.D + slices_.begin(s), bytes(s)",
        "W + c * slices_.D, bytes(s)",
    ),
    Mutant("kernel/memory.hpp", "common_ ? static_cast<T>(rows.scale[0]) : T(1)", "T(1)"),
    Mutant("kernel/memory.hpp", "&& all_equal(rows.offset, 0, slices.D)", ""),
    Mutant("kernel/memory.hpp", "all_equal(rows.scale, rows.scale[0], slices.D) &&", ""),
    Mutant(
        "kernel/step.hpp", "splat<T>(-step.eta_over_B * common_scale)", "splat<T>(-step.eta_over_B)"
    ),
    Mutant("kernel/load_rows.hpp", "kFlipLanes<S> - 1 - I", "I"),
    Mutant("kernel/load_rows.hpp", "from[count - 1 - i]", "from[i]"),
    Mutant("kernel/load_rows.hpp", "d / width * width", "begin"),
    Mutant("kernel/load_rows.hpp", "min(end, line + width)", "line + width"),
    Mutant("kernel/load_rows.hpp", "!job.rows.flipped[i]", "!job.rows.flipped[n]"),
    Mutant("kernel/backward.hpp", "static_cast<double>(tile.common_scale)", "1.0"),
    Mutant("kernel/passes.cpp", "job.accumulate = slice > 0", "job.accumulate = false"),
    Mutant(
        "kernel/passes.cpp",
        "job.bias = slice == 0 ? request_.weights.b : nullptr",
        "job.bias = nullptr",
    ),
    Mutant("python/arguments.cpp", "label < 0 || label >= K", "label < 0 || label > K"),
    Mutant("python/arguments.cpp", "D % image_width != 0", "false"),
    # the same bits, whatever the threads and the neighbours
    Mutant("kernel/step.hpp", "step.momentum > 0 ?", "at.velocity ?"),
    Mutant("kernel/shapes.hpp", "return s * width;", "return s * (width - panel);"),
    Mutant(
        "kernel/simd.hpp",
        "reversed * 2 + ((value & bit) ? 1 : 0)",
        "reversed * 2 + ((value & bit) ? 0 : 1)",
    ),
    Mutant(
        "kernel/threads.hpp",
        "part_begin(slices.count, slice_parts, i + 1)",
        "part_begin(slices.count, slice_parts, i) + 1",
    ),
    Mutant("kernel/threads.hpp", "if (threads_ == 1) return;", "return;"),
    Mutant(
        "kernel/passes.cpp", "chunk * shape_.R + r;\n    job.correct", "r;\n    job.correct"
    ),
)
