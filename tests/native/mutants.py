"""Places where the kernel is broken on purpose, one at a time: the suite must notice each."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """In `native/<file>`, the first `right` becomes `wrong`."""

    file: str
    right: str
    wrong: str


# Of each vector of features the first half is summed before the second.
_LOWER, _UPPER = (
    f"{half}.template add_products<kScoreRows>({half}_halves(row, row, AllLanes<T>{{}}), n, 0, "
    "acc);"
    for half in ("lower", "upper")
)

_TABLE = {
    "kernel/jobs.hpp": [
        ("feature(begin + half) < least", "feature(begin + half) <= least"),
        ("weights[x.row(i)]", "weights[i]"),
        ("order ? order[i] : i", "i"),
    ],
    "kernel/load_rows.hpp": [
        ("tile += tile_index<T>(d, job.panel_stride) - d;", ""),
        (
            "load<T>(scaling.scale + d), load<T>(scaling.offset + d)",
            "load<T>(scaling.scale + d), load<T>(scaling.offset)",
        ),
        (
            "fma(x, load<T>(scaling.scale + d), load<T>(scaling.offset + d))",
            "x * load<T>(scaling.scale + d) + load<T>(scaling.offset + d)",
        ),
        ("i < job.features; ++i) tail", "i + 1 < job.features; ++i) tail"),
        ("kFlipLanes<S> - 1 - I", "I"),
        ("from[count - 1 - i]", "from[i]"),
        ("+ job.scaling.wide_offset[d]", "+ job.scaling.wide_offset[0]"),
        ("d / width * width", "begin"),
        ("min(end, line + width)", "line + width"),
        ("!job.rows.flipped[i]", "!job.rows.flipped[n]"),
    ],
    "kernel/forward.hpp": [
        ("bias ? bias + c : nullptr, accumulate", "bias, accumulate"),
        ("tile.bias ? tile.bias + c : nullptr", "tile.bias"),
        ("column[n] += scores[n]", "column[n] = scores[n]"),
        ("for (; d % kPanel<T> != 0;", "for (; false;"),
        ("x += tile.panel_stride)", "x += kPanel<T>)"),
        ("for (; d < end; d += kStep<T>, x += kStep<T>) step(d, x)", ""),
        ("for (Index d = end; d < tile.width;", "for (Index d = end; d < end;"),
        ("I % 2 * half + I / rows * kPairs", "I % 2 * half"),
        # The same sums in another order.
        (
            f"{_LOWER}\n      {_UPPER}",
            f"{_UPPER}\n      {_LOWER}",
        ),
        (
            "add_product(acc[c * kPairs + pair], lower[c], low);\n"
            "      add_product(acc[c * kPairs + pair], upper[c], high);",
            "add_product(acc[c * kPairs + pair], upper[c], high);\n"
            "      add_product(acc[c * kPairs + pair], lower[c], low);",
        ),
    ],
    "kernel/loss.hpp": [
        ("job.scratch[job.label(lane) * kLanes<T> + lane] -= target", "(void)target"),
        ("if (job.rows->weights) apply_weights(job);", ";"),
        ("job.losses[lane] = job.weight(lane) *", "job.losses[lane] ="),
        ("sums.loss += weight * loss", "sums.loss += loss"),
        ("sums.square += weight * loss * loss", "sums.square += loss * loss"),
        ("sums.right += right ? weight : 0", "sums.right += right"),
        ("(s == label_scores) & lower", "(s == label_scores)"),
        ("load<T>(s) - top)", "load<T>(s))"),
        ("slice < job.slices; ++slice", "slice < job.slices - 1; ++slice"),
        ("~(s <= best.score)", "(s >= best.score)"),
        ("best.k[lane] == job.label", "best.k[lane] != job.label"),
        ("-job.loss_kind.smoothing / ", "job.loss_kind.smoothing / "),
        ("score < 0 ? e : one", "one"),
        ("(one + e) - smoothing)", "(one + e))"),
        ("job.loss_kind.sigmoid ? own / static_cast<double>(job.K) : own", "own"),
        ("if (epsilon > 0) losses[lane] -=", "if (epsilon > 0) losses[lane] +="),
        (
            "(1 - epsilon) * static_cast<double>(label_score(job, lane) -",
            "static_cast<double>(label_score(job, lane) -",
        ),
        ("fma(minus_smoothing, s, s < 0 ? Vec<T>{} : s)", "s < 0 ? Vec<T>{} : s"),
        ("static_cast<double>(curved[lane])) / K", "static_cast<double>(curved[lane]))"),
    ],
    "kernel/simd.hpp": [
        ("1.f / 6, .5f", "1.f / 6, .5001f"),
        ("lowest = -87.0f", "lowest = -3.0f"),
        ("x < 0 ? x : -x", "x"),
        ("x < -t ? -t : x", "x"),
        ("sizeof(T) == 4 ? 8 : 17", "sizeof(T) == 4 ? 7 : 15"),
        ("T(2 * i + 1)", "T(2 * i + 2)"),
        # Lanes of a score that are not all added.
        ("fold_lanes<T, kFold<T> / 2, Count>(acc)", "fold_lanes<T, 1, Count>(acc)"),
        ("? (I ^ H) + lanes : (I ^ H)", "? I + lanes : (I ^ H)"),
        ("reversed * 2 + ((value & bit) ? 1 : 0)", "reversed * 2 + ((value & bit) ? 0 : 1)"),
        ("int reversed = value / lanes", "int reversed = 0"),
        (
            "fma(e, splat(ln2), log1p_unit<double>(m - 1.0))",
            "(e * ln2 + log1p_unit<double>(m - 1.0))",
        ),
    ],
    "kernel/backward.hpp": [
        ("chunk.n * kPanel<T> + x_index", "chunk.n * kPanel<T>"),
        ("upper_halves(acc[c][v], acc[other][v]", "lower_halves(acc[c][v], acc[other][v]"),
        ("if (!tile.first)", "if (false)"),
        ("chunk + 1 == chunks", "chunk == 0"),
        (
            "tile.gradient[c * tile.gradient_stride + d] +=",
            "tile.gradient[c * tile.gradient_stride + d] =",
        ),
        ("static_cast<double>(tile.common_scale)", "1.0"),
    ],
    "kernel/optimizer.hpp": [
        ("1 - 2 * eta * l2", "1 - eta * l2"),
        ("eta / static_cast<double>(B)", "eta"),
        ("fma(rate, G, w * shrink)", "fma(rate, G, w)"),
        ("b -= step.eta_over_B * sum", "b += step.eta_over_B * sum"),
        ("kLearningRate, t * shape_.R + run", "kLearningRate, run"),
        ("averaging(run, t - 1) != 1", "averaging(run, t) != 1"),
        ("t == 0 ||", "t > 0 &&"),
        ("plain_ && step.momentum == 0", "plain_"),
        ("static_cast<T>(2 * l2)", "static_cast<T>(l2)"),
        ("step.nesterov ? g + step.momentum * v : v", "v"),
        ("if (!step.has_average) a = before;", ""),
        ("a += step.averaging * (b - a)", "a += step.averaging * (before - a)"),
        ("fma(splat<T>(step.weight_decay), w, G", "fma(splat<T>(step.weight_decay), G, G"),
        ("splat<T>(step.one_over_B * common_scale)", "splat<T>(step.one_over_B)"),
        (
            "fma(momentum, load_weights(velocity), g)",
            "fma(momentum, g, load_weights(velocity))",
        ),
        ("step.nesterov ? fma(momentum, v, g) : v", "v"),
        ("store_weights(velocity, v);", ""),
        ("step.has_average ? load_weights(average) : before", "load_weights(average)"),
        ("averaging), w - a, a)", "averaging), before - a, a)"),
        ("splat<T>(-step.eta_over_B * common_scale)", "splat<T>(-step.eta_over_B)"),
        ("step.momentum > 0 ?", "(*at.slots)[kVelocity] ?"),
        ("without_tiny(fma(rate", "(fma(rate"),
        ("w - clipped(w, splat<T>(step.threshold))", "clipped(w, splat<T>(step.threshold))"),
        ("fma(clipped(w, splat<T>(step.threshold)), splat", "fma(w, splat"),
        ("splat<T>(step.one_over_length), v)", "splat<T>(step.one_over_length), g)"),
        ("step.threshold == 0 && step.averaging", "step.averaging"),
        ("eta * (1 + method_.of(kMomentum, run)) : eta", "eta : eta"),
        ("static_cast<T>(length * method_.of(kL1, run))", "static_cast<T>(method_.of(kL1, run))"),
        ("std::fmin(1 / length, std::numeric_limits<T>::max())", "1 / length"),
        ("norm <= t ? 1.0 : t / norm", "t / norm"),
        ("squares += w * w;", "squares = w * w;"),
        ("fma(taken, splat<T>(step.one_over_length)", "fma(before, splat<T>(step.one_over_length)"),
        ("step.grouped ? a :", "false ? a :"),
    ],
    "kernel/shapes.hpp": [
        ("d / kPanel<T> * panel_stride", "d / kPanel<T> * kPanel<T>"),
        ("return s * width;", "return s * (width - panel);"),
        ("kMaxSliceBytes = 3072", "kMaxSliceBytes = 1536"),  # the same sums in another order
    ],
    "kernel/memory.hpp": [
        ("c * slices_.D + slices_.begin(s)", "c * slices_.D"),
        ("packed + count, W + i, one_nan<T>)", "packed + count, W + i, [](T x) { return x; })"),
        ("common_ ? static_cast<T>(rows.scale[0]) : T(1)", "T(1)"),
        ("&& all_equal(rows.offset, 0, slices.D)", ""),
        ("std::abs(rows.offset[d]) > 1024 ||", ""),
        ("scale > 1e15 ||", ""),
        ("all_equal(rows.scale, rows.scale[0], slices.D) &&", ""),
    ],
    "kernel/threads.hpp": [
        (
            "part_begin(slices.count, slice_parts, i + 1)",
            "part_begin(slices.count, slice_parts, i) + 1",
        ),
        ("if (threads_ == 1) return;", "return;"),
        ("_mm_setcsr(0x1f80u)", "_mm_setcsr(saved_)"),
    ],
    "kernel/batch_loop.cpp": [
        ("worker.steps.set(t, count(t),", "worker.steps.set(t, plan_.batch_size,"),
        ("if (!last) forward(worker, t + 1, s);", "if (!last) forward(worker, t, s);"),
        ("loss_kind(job.run)", "loss_kind(0)"),
        ("grouped_ ? 0 : part.first_column", "part.first_column"),
        ("thread / partition_.slice_parts, parts", "0, parts"),
    ],
    "kernel/passes.cpp": [
        ("request.gradient_b[i] /= N", "request.gradient_b[i] /= 1"),
        ("(done - 1) * shape.R", "0 * shape.R"),
        (
            "std::copy_n(request.weights.b + run * K",
            "if (run > 0) std::copy_n(request.weights.b + run * K",
        ),
        ("method.loss_kind(r)", "method.loss_kind(0)"),
        ("job.accumulate = slice > 0", "job.accumulate = false"),
        ("job.bias = slice == 0 ? request_.weights.b : nullptr", "job.bias = nullptr"),
        ("sums_[static_cast<std::size_t>(chunk * shape_.R + r)]", "sums_[size_t(r)]"),
        ("request_.figures.from(r * shape_.N + first + row)", "request_.figures.from(first + row)"),
    ],
    "kernel/sparse.hpp": [
        ("job.thresholds[t * job.stride + c]", "job.thresholds[c]"),
        ("w[c] = tiny_as_zero(w[c] - clipped(w[c], step.threshold))", ";"),
        ("v + clipped(w[c], step.threshold) * step.one_over_length", "v"),
        ("v + taken * step.one_over_length", "v"),
        ("take(c, w[c] * share)", "take(c, w[first] * share)"),
        ("|| !job.grouped[c / job.K]", ""),
        ("sum + job.bias[c])", "sum)"),
        ("scale ? stored * scale[d] : stored", "stored"),
        ("if (c + 24 <= stride) return", "if (c + 24 <= stride)"),
        ("t < job.t; ++t)", "t <= job.t; ++t)"),
        ("job.stepped[d] = job.t + (sums ? 1 : 0)", "job.stepped[d] = job.t"),
        ("scale * sums[c] + offset * job.bias_sums[c]", "scale * sums[c]"),
        ("step.nesterov ? g + step.momentum * v : v", "v"),
        ("if (!step.has_average) a = before;", ""),
        ("++c) sums[c] = 0;", "++c) (void)sums[c];"),
    ],
    "kernel/coordinate_descent.hpp": [
        ("step[c] = w[c * stride] - step[c] / h", "step[c] = -step[c] / h"),
        ("size += step[c] * step[c]", "size = step[c] * step[c]"),
        ("size > threshold ? 1.0 - threshold / size : 0.0", "1.0 - threshold / size"),
        ("if (rests && all) return sweep;", "if (rests) return sweep;"),
        ("static_cast<std::int32_t>(n)", "static_cast<std::int32_t>(x.row(n))"),
        ("sums[c] *= X.scale.data()[j]", "sums[c] *= 1"),
        ("common[at] = -sum[at] / total", "common[at] = 0"),
        ("+ 2.0 * q.l2[k] * q.w[c * q.n + k]", ""),
        ("common[at] += o * step[at]", ""),
        (
            "sums[c * n + k] = of_feature[c] + offset * totals.data()[c]",
            "sums[c * n + k] = of_feature[c]",
        ),
        ("step[i] -= U[i * n + k] * step[k]", "step[i] += U[i * n + k] * step[k]"),
        ("length = std::min(length, -w / step[i])", "length = 1.0"),
        ("(sums[0] + sums[1]) + (sums[2] + sums[3])", "sums[0] + sums[1] + sums[2]"),
    ],
    "kernel/columns.hpp": [
        ("splat<double>(column.scale), splat<double>(column.offset))", "splat<double>(1), VecD{})"),
        ("convert<T>(rows[i][job.features[k]])", "convert<T>(rows[0][job.features[k]])"),
        ("job.H[(i + t) * job.stride + j + u] +=", "job.H[(i + t) * job.stride + j + u] ="),
        ("p = s >= 0 ? larger : smaller", "p = larger"),
        ("losses[part] += f * (softplus(s, e) - y * s)", "losses[part] += f * softplus(s, e)"),
        ("kept * load<double>(found + n) + (1.0 - kept) * y", "load<double>(found + n)"),
        ("entropy(1.0 - p)", "entropy(p)"),
    ],
    "kernel/pair_search.hpp": [
        ("rows.base[i] += common", "rows.base[i] += 0"),
        ("place * (wide_ ? 8 : 4)", "place * 4"),
        ("- slope * means_[i]", ""),
        ("step.shift -= step.change[k] * means_[i]", "step.shift -= 0"),
        ("if (rows.intercept) h -= means_[i] * means_[j] * total_", ";"),
        ("+= curvatures[i - old] + kRidge", "+= kRidge"),
        ("rows.bias = bias + shift", "rows.bias = bias - shift"),
        ("(step_.along[i] + step_.shift)", "step_.along[i]"),
        ("far += f[i] * (from_seen * from_seen)", "far += from_seen * from_seen"),
        ("X_.column(features[k]), padded, r)", "X_.column(features[0]), padded, r)"),
    ],
    "kernel/newton.hpp": [
        ("job.y[n] ? 1 : -1", "1"),
        ("if (offsets) s +=", "if (false) s +="),
        ("copies_ * v[i * D_ + d]", "v[i * D_ + d]"),
        ("s > 0 ? -wrong : -q", "-q"),
        ("f_[n] * (P_[job_.y[n] * N_ + n] - 1)", "f_[n] * P_[job_.y[n] * N_ + n] - 1"),
        ("0.5 * copies_ * squares", "0.5 * squares"),
        ("lower ? i + 1 : rows_b", "lower ? i : rows_b"),
        ("f * (p + p)", "f * p"),
        ("f * (-p * q)", "f * 0.0 * q"),
        ("kRidge * size : 1) + job_.curvatures[d]", "kRidge * size : 1)"),
        ("size > job_.far * least", "false"),
        ("was_near = !(size > least)", "was_near = true"),
        ("size < flattest ? 0 : stalled + 1", "size < flattest ? 0 : stalled"),
        ("- kCostRounding * lowest || size < flattest", "- kCostRounding * lowest"),
    ],
    "kernel/dual_sweep.hpp": [
        ("a.shift[k] * (along - a.mean_square) + a.at_mean[k]", "a.at_mean[k]"),
        ("value = a.scale ? stored * a.scale[d] : stored;", "value = stored;"),
        ("u[k] * along;", "u[k];"),
        ("a.y.at(row)", "a.y.at(n)"),
        ("a.loss += f *", "a.loss +="),
        ("a.bent[k * K + l] -= bent * p[l]", ""),
        ("const double* const moved = u + (mirrored ? 1 : 0)", "const double* const moved = u"),
    ],
    "kernel/dual_ascent.cpp": [
        ("- 2 * along_[n] + mean_square_, 0.0)", "+ mean_square_, 0.0)"),
        ("- shift_[static_cast<std::size_t>(first_class() + c)] * (*mean_)[d]);", ");"),
        ("stride_ < K ? 2 * total : total;", "total;"),
        (
            "(scale ? scale[begin + i / stride_] * sums[i] : sums[i]) + bend * w",
            "sums[i] + bend * w",
        ),
        ("part.g[static_cast<std::size_t>(label)] -= f;", ""),
        ("W[d] = T(0) - W[D + d];", "W[d] = W[D + d];"),
        ("errors += error * value;", ""),
        ("+ (*own_errors_)[i];", ";"),
        ("own_error_squares_ += part;", "own_error_squares_ += 0 * part;"),
    ],
    "kernel/wide_rows.cpp": [
        ("word.several |= word.any & bit;", ""),
        (" | (of_any[word] & of[word].any)", ""),
        ("at[thread] += at[thread - 1];", ""),
        (" && !repeats_rows()", ""),
        ("own += of_value * static_cast<double>(!is_kept);", "own += 0 * of_value;"),
    ],
    "kernel/sparse_passes.hpp": [
        ("static_cast<double>(w) * scale[d])", "static_cast<double>(w))"),
        ("(std::abs(scale) < 1e15 &&", "(true &&"),
        ("static_cast<double>(b[c]) + sum", "static_cast<double>(b[c])"),
        ("+ offset[d] * bias_sums[c]) / divisor", ") / divisor"),
        (
            "thread), begin(thread + 1), r, data(), stride_}",
            "thread), begin(thread + 1) - 1, r, data(), stride_}",
        ),
    ],
    "kernel/sparse_passes.cpp": [
        ("thresholds_[i] = steps.data()[c].threshold", "thresholds_[i] = 0"),
        ("return residuals_.data() + t % 2 * chunk_ * stride_", "return residuals_.data()"),
        ("job.first = first(t) + job.row", "job.first = job.row"),
        ("loss_kind(job.run)", "loss_kind(0)"),
        ("slot_memory_.empty() && !shifted_ &&", "slot_memory_.empty() &&"),
        ("|| listed == t) continue", ") continue"),
        ("kept = given; }", "kept = 0 * given; }"),
        ("unit_ ? nullptr : request_.rows.scale", "nullptr"),
        ("request.loss[r] /= N", "request.loss[r] /= 1"),
        ("(c / K * N + first + n) * K + c % K", "(first + n) * K + c % K"),
        ("const double part = x * rows.weight(n);", "const double part = x;"),
        ("if (counts[static_cast<std::size_t>(d)] == N)", "if (false)"),
        ("values[j] + S(0)", "values[j]"),
        ("v <= 255 &&", "v <= 256 &&"),
        ("bits ^ (bits >> 32)", "bits"),
    ],
    "python/arguments.cpp": [
        ("label < 0 || label >= K", "label < 0 || label > K"),
        ("D % image_width != 0", "false"),
    ],
}
MUTANTS = [Mutant(file, right, wrong) for file, pairs in _TABLE.items() for right, wrong in pairs]
