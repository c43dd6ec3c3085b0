"""Tables of results: sweeps, gradient checks, λ paths and suites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onelayer.experiments.best_linear import HeldOut
from onelayer.model.evaluation import Evaluation
from onelayer.model.intervals import WILSON, interval_words
from onelayer.model.metrics import Metric, metric_of
from onelayer.objective.gradcheck import GradientCheck
from onelayer.report import summary
from onelayer.report.selection import select_setting
from onelayer.report.summary import (
    OVER_SEEDS,
    Estimate,
    PathLine,
    SettingSummary,
    number,
    scores_of,
    summarise_path,
)
from onelayer.report.table import Cell, Column, Table, Where, make_table, spread_cell
from onelayer.solver import LearningRateBounds, Path
from onelayer.solver.selection import IN_SCORES
from onelayer.training.result import RankedSetting, Result
from onelayer.training.suite import Baseline, Head, Suite


def record_tables(record: Result | Path | Suite) -> list[Table]:
    """The tables that terminals and notebooks show of a record."""
    if isinstance(record, Path):
        return [path_table(record)]
    if isinstance(record, Result):
        ranked = len(record.settings) > 1 and not record.gradient_checks
        return [ranking_table(record) if ranked else accuracy_table(record)]
    tables = [suite_table(record)]
    tables += [shots_table(record)] if any(head.few_shots for head in record.heads) else []
    return tables + ([baseline_table(record)] if record.best.baselines else [])


def record_sentences(record: Result | Path | Suite) -> list[str]:
    """What is to be said below them; of the reproduction nothing."""
    if not isinstance(record, Result):
        return [*record.verdict]
    if record.gradient_checks:
        return []
    found = []
    if len(record.settings) > 1:
        selection = select_setting(record)
        found += [best_on_test(record), "" if selection is None else selection.edges]
    elif len(record.runs) == 1:
        test = accuracy_on_test(record, [0])
        found.append(f"test accuracy: {test}" if test else "")
        found += [proof.sentence for proof in record.certificates]
    return [*filter(None, [*found, summary.early_end(record, record.ranking[0].positions)])]


def accuracy_table(result: Result) -> Table:
    """Reported against measured accuracies, percent, mean ± standard deviation over seeds."""
    columns = [Column("setting", words=True)]
    for part, short in (("training", "train"), ("test", "test")):
        group = f"{part} accuracy / %"
        if result.reported:
            columns.append(Column("reported", group=group, short="report"))
        columns.append(Column("measured", group=group, short=short))
        if result.reported:
            columns.append(Column("difference", group=group, where="page"))
    if not result.reported:  # beside reported figures a terminal has no room for the range
        columns.append(Column("test range", where="terminal"))
    columns.append(Column("runs", words=True))
    rows = [_accuracies(result, one) for one in summary.summarise(result)]
    return make_table("Accuracy / %, last weights", columns, rows, note=OVER_SEEDS)


def _accuracies(result: Result, setting: SettingSummary) -> list[Cell | str]:
    cells: list[Cell | str] = [setting.name]
    for figure in (setting.train, setting.test):
        cells += [number(figure.reported)] if result.reported else []
        cells += [spread_cell(figure.measured)]
        cells += [number(figure.difference, "+.2f")] if result.reported else []
    if not result.reported:
        test = setting.test.measured
        cells += [f"{test.low:.1f}–{test.high:.1f}" if test.n > 1 else "–"]
    troubles = [setting.status] if setting.status != "finished" else []
    troubles += ["chaotic"] if setting.chaotic else []
    runs = ", ".join([str(len(setting.positions)), *troubles])
    return [*cells, Cell(runs, trouble=bool(troubles))]


def ranking_table(result: Result, most: int = 10) -> Table:
    """The best settings by their mean score on the validation rows; test rows have no say."""
    ranked, metric = result.ranking, result.metric
    other, sparse = metric.name != "accuracy", any(one.l1 for one in ranked)
    shown = f"Best {most} of {len(ranked)} settings" if len(ranked) > most else "Settings"
    columns: list[Column | str] = [
        Column("rank", short=" "),
        *("η", "λ", *["λ₁"] * sparse, "batch"),
        *([Column(f"validation {metric.axis}", short=metric.axis)] if other else []),
        Column("validation accuracy / %", short="validation %"),
        # With another score or λ₁ 80 characters are full.
        Column("validation loss / nats", short="validation loss",
               where="page" if other or sparse else "everywhere"),
        *([Column("W = 0 / %")] if sparse else []),
        Column("runs", words=True),
    ]  # fmt: skip
    beside = any(_beside_columns(one) for one in ranked)
    columns += [Column("with", words=True)] if beside else []
    rows = list[list[Cell | str]]()
    rates = _apart([one.learning_rate for one in ranked])
    l2s, l1s = _apart([one.l2 for one in ranked]), _apart([one.l1 for one in ranked])
    for one, rate, l2, l1 in zip(ranked[:most], rates, l2s, l1s, strict=False):
        several = len(one.positions) - one.diverged > 1
        runs = str(len(one.positions))
        ended = summary.count_endings(result.outcomes[i] for i in one.positions)
        troubles = [f"{n} of {runs} {how}" for how, n in ended.items() if how != "stopped early"]
        rows.append(
            [
                str(one.rank),
                rate,
                l2,
                *([l1] if sparse else []),
                str(one.batch_size),
                *([_score_cell(one, metric, several=several)] if other else []),
                Cell(number(100 * one.mean), number(100 * one.sd) if several else ""),
                number(one.loss, ".4f"),
                *([f"{100 * (result.W[[*one.positions]] == 0.0).mean():.1f}"] if sparse else []),
                Cell(", ".join(troubles) or runs, trouble=bool(troubles)),
                *([_beside_columns(one)] if beside else []),
            ]
        )
    return make_table(f"{shown} by mean validation {metric.title}", columns, rows, 0, OVER_SEEDS)


def _score_cell(one: RankedSetting, metric: Metric, *, several: bool) -> Cell:
    form = ".2f" if metric.unit == "%" else ".4f"
    mean, sd = (number(metric.factor * value, form) for value in (one.score, one.score_sd))
    return Cell(mean, sd if several else "")


def _apart(values: Sequence[float]) -> list[str]:
    """Numbers with six digits, or with all of theirs where six do not tell them apart."""
    short = [f"{value:g}" for value in values]
    return short if len({*short}) == len({*values}) else [str(value) for value in values]


def _beside_columns(one: RankedSetting) -> str:
    """What sets a setting apart that has no column of its own."""
    words = one.kind.removeprefix(f"batch {one.batch_size}").split(", ")
    return ", ".join(word for word in words if word and not word.startswith("λ₁="))


def best_on_test(result: Result) -> str:
    """The test accuracy of the best setting, in a sentence."""
    best = result.ranking[0]
    if best.untrained:
        return "none is best: the runs were interrupted before their first epoch"
    words = accuracy_on_test(result, best.positions) or "not measured"
    return f"best by validation: {best.name}; test accuracy (not used for selection): {words}"


def accuracy_on_test(result: Result, positions: Sequence[int]) -> str:
    """Mean ± standard deviation over seeds, or of one run with its interval; '' without rows."""
    measured = summary.spread(summary.percent_on_test(result)[[*positions]])
    words = f"{spread_cell(measured).plain} %"
    if measured.n != 1:
        return words if measured.n else ""
    return f"{words} ({interval_words(*result.test_interval(positions[0]))})"


def gradient_table(checks: Sequence[GradientCheck]) -> Table:
    """Numerical against analytic gradients: one row a parameter, batch size and λ."""
    losses = {
        check.loss + (f", ε = {check.label_smoothing:g}" if check.label_smoothing else "")
        for check in checks
    }
    about = f", {summary.listed(sorted(losses))}" if losses - {"softmax"} else ""
    columns = [
        Column("parameter", words=True, short="of"),
        *(Column(name) for name in ("batch", "λ", "entries", "too small")),
        Column("largest error", short="max"),
        Column("median error", short="median"),
        Column("reported", where="page"),
        Column("", words=True),
    ]
    rows = [
        [
            check.parameter,
            str(check.batch_size),
            f"{check.l2:g}",
            str(check.entries),
            str(check.too_small),
            f"{check.max_error:.1e}",
            f"{check.median_error:.1e}",
            "< 1e-3" if check.parameter == "W" else "< 1e-6",
            "passed" if check.passed else Cell("FAILED", trouble=True),
        ]
        for check in checks
    ]
    return make_table(f"Relative error of the analytic gradient, every entry{about}", columns, rows)


def advice_table(advice: LearningRateBounds) -> Table:
    """Which learning rates are stable, and why: one row a bound, and the rate to take."""
    bounds = (
        ("full batches, stable at any W", advice.smoothness, advice.stable),
        ("random batches of this size, likewise", advice.batch_smoothness, advice.batch_stable),
        (
            "at W = 0; above it the first steps overshoot",
            advice.start_curvature,
            advice.start_stable,
        ),
    )
    rows = [[words, f"{curvature:.4g}", f"below {rate:.3g}"] for words, curvature, rate in bounds]
    rows.append(['learning_rate="auto" takes', "", f"{advice.learning_rate:.3g}"])
    title = f"Learning rates at λ = {advice.l2:g}, batches of {advice.batch_size}"
    return make_table(title, [Column("", words=True), "curvature", "η"], rows, chosen=3)


def held_out_table(compared: Sequence[HeldOut], chosen: HeldOut) -> Table:
    """What each recipe of the best linear map gave on the rows held out from it."""
    columns: list[Column | str] = [Column("loss", words=True), "λ", "shift / px"]
    columns += [Column("flips", words=True), "accuracy", Column("", words=True)]
    rows = [
        [
            f"L_q, q = {one.recipe.q:g}" if one.recipe.q else "cross-entropy",
            f"{one.recipe.l2:g}",
            str(one.recipe.moves),
            "yes" if one.recipe.flips else "no",
            Cell(f"{100 * one.accuracy:.2f}", f"{100 * one.standard_error:.2f}"),
            "chosen" if one is chosen else "",
        ]
        for one in compared
    ]
    folds = len(chosen.accuracies)
    title = f"Training rows held out, {folds} folds: accuracy in percent"
    return make_table(title, columns, rows, note=f"± {summary.standard_error(folds)}")


def maps_table(each: Sequence[Evaluation], mean: Evaluation, seeds: Sequence[int]) -> Table:
    """Test accuracies of each seed's map and of their mean, percent, with 95 % intervals."""
    names = [f"seed {seed}" for seed in seeds] + [f"mean of the {len(seeds)}"]
    rows = [
        [
            name,
            f"{number(100 * one.accuracy)} %",
            interval_words(*one.interval).removeprefix(f"{WILSON} "),
        ]
        for name, one in zip(names, [*each, mean], strict=True)
    ]
    columns = [Column("map", words=True), Column("accuracy"), Column(WILSON)]
    return make_table(f"{mean.rows:,} test rows", columns, rows)


def seeds_sentence(each: Sequence[Evaluation]) -> str:
    """Mean, standard deviation and range of the seeds' accuracies, percent, in a sentence."""
    if len(each) == 1:
        return "one seed; for a spread over seeds: --seeds 5."
    cell = spread_cell(summary.spread([100 * evaluation.accuracy for evaluation in each]))
    return f"over {len(each)} seeds {cell.plain} % (standard deviation over seeds), {cell.below} %."


def path_table(path: Path) -> Table:
    """A λ path, largest λ first: what was proven for each λ, and how it scores."""
    lines = summarise_path(path)
    held_out = f"{path.folds} folds" if path.folds else "validation"
    rows = held_out if path.folds else "validation rows"
    by_accuracy, by_loss = (path.choice.by == by for by in IN_SCORES)
    accuracy, loss = "accuracy / %", "loss / nats"
    columns: list[Column | str] = [
        *(path.symbol, Column("passes", where="page" if path.is_sparse else "everywhere")),
        Column("cost J / nats", short="cost"),
        Column("certified gap / nats", where="page"),
        Column("gap / J", short="gap / cost"),
        "‖W‖",
        Column("training", group=accuracy, short="train %"),
        Column(held_out, False, accuracy, "held-out %", "everywhere" if by_accuracy else "page"),
        Column("training", group=loss, where="page"),
        Column(held_out, False, loss, "held-out loss", "everywhere" if by_loss else "page"),
        Column("status", words=True, short=" "),
    ]
    metric = path.choice.metric
    if metric.name not in IN_SCORES:
        columns.insert(-1, Column(held_out, group=metric.axis, short="held-out"))
    if path.is_sparse:
        columns.insert(6, "features")
    chosen = f"◄ chosen by {metric.title} on {rows}, rule {path.choice.rule}"
    title = f"Optimum of each {path.symbol}; {chosen}"
    note = f"± {summary.standard_error(path.folds, path.held_out[0][0].groups)}"
    rows_of_l2 = [_path_row(line, metric, sparse=path.is_sparse) for line in lines]
    return make_table(title, columns, rows_of_l2, path.chosen, note)


def suite_table(suite: Suite) -> Table:
    """The heads of a suite, best first: λ, held-out and test scores, and what was proven."""
    metric = suite.test_metric
    names = dict.fromkeys((metric.name, *IN_SCORES))
    columns: list[Column | str] = [
        Column("feature set", words=True),
        Column("features", where="page"),
        "λ",
    ]
    for name in names:
        columns += _score_columns(suite, name, chosen=name == metric.name)
    columns += [
        Column("gap / J", short="gap / cost"),
        Column("passes", where="page"),
        Column("optimal", where="page"),
    ]
    rows_of_heads = [_head_row(head, suite.choice.by, metric, names) for head in suite.ranking]
    rows = f"{suite.folds} folds" if suite.folds else "the validation rows"
    title = f"Feature sets by {suite.choice.metric.title} on {rows}"
    over = summary.standard_error(suite.folds, suite.best.best.held_out[0].groups)
    note = f"± {over}; {interval_kind(suite)}"
    return make_table(title, columns, rows_of_heads, 0, note)


def baseline_table(suite: Suite) -> Table:
    """Test accuracy of each head and of the baselines on its features, best head first.

    On a page also what heads are ranked by, on the test rows, where that is another metric.
    """
    heads = [head for head in suite.ranking if head.baselines]
    names = ["probe", *(one.name for one in heads[0].baselines)]
    metric, accuracy = suite.choice.metric, "accuracy on the test rows / %"
    columns = [Column("feature set", words=True)]
    columns += [Column(name, group=accuracy) for name in names]
    other = metric.name != "accuracy"
    if other:
        columns += [Column(name, group=metric.axis, where="page") for name in names]
    rows: list[list[Cell | str]] = []
    for head in heads:
        judged: list[Head | Baseline] = [head, *head.baselines]
        row: list[Cell | str] = [
            head.name,
            *(_test_cell(one, metric_of("accuracy")) for one in judged),
        ]
        rows.append(row + [_test_cell(one, metric) for one in judged if other])
    title = "Test accuracy / % of probes, and of baselines on the same features"
    return make_table(title, columns, rows, 0)


def _test_cell(judged: Head | Baseline, metric: Metric) -> Cell:
    found = judged.test_of(metric.name)
    if found is None:
        return Cell("–")
    value, *ends = (metric.number(one) for one in found)
    if metric.name == "accuracy":
        ends = [f"{100.0 * end:.1f}" for end in found[1:]]
    return Cell(value, below="–".join(ends))


def interval_kind(suite: Suite) -> str:
    """What the intervals of a suite's test scores are."""
    metric = suite.test_metric
    if any(one.metric == "accuracy" for head in suite.heads for one in head.test_metrics):
        return "95 % intervals of whole groups, resampled"
    if metric.name == "log_loss":
        return "95 % intervals, ± 1.96 standard errors"
    return f"95 % {'Wilson' if metric.counts else 'bootstrap'} intervals"


def _score_columns(suite: Suite, name: str, *, chosen: bool) -> list[Column | str]:
    """Held-out and test scores by a metric; with intervals of accuracy and of what sets rank by."""
    metric = metric_of(name)
    held_out = f"{suite.folds} folds" if suite.folds else "validation"
    unit = {"accuracy": " %", "log_loss": " loss"}.get(name, "")
    where: Where = "everywhere" if chosen else "page"
    loss = name == "log_loss"
    group = "loss / nats" if loss else metric.axis
    columns: list[Column | str] = [
        Column(held_out, False, group, f"held-out{unit}", where),
        Column("test", group=group, short=f"test{unit}"),
    ]
    if chosen or not loss:
        columns.append(Column("95 % interval", group=group, short="95 %", where=where))
    return columns


def _head_row(head: Head, by: str, metric: Metric, names: Iterable[str]) -> list[Cell | str]:
    scores = scores_of(head.best.held_out, by)
    cells: list[Cell | str] = [head.name, f"{head.model.features:,}", f"{head.l2:.3g}"]
    for name in names:
        of, digits = metric_of(name), 2 if metric_of(name).unit == "%" else 4
        found, measured = scores.of(name), head.test_of(name)
        assert measured is not None  # noqa: S101  # `test_metric` is of all heads
        value, low, high = (of.factor * figure for figure in measured)
        cells += [
            Cell(f"{found.mean:.{digits}f}", f"{found.error:.{digits}f}"),
            f"{value:.{digits}f}",
        ]
        if name == metric.name or name != "log_loss":
            cells.append(f"{low:.{digits - 1}f}–{high:.{digits - 1}f}")
    proof, solved = (
        head.model.require_certificate(),
        sum(one.status == "optimal" for one in head.solutions),
    )
    return [
        *cells,
        f"{proof.gap / proof.cost:.1e}" if head.l2 else "no bound",
        str(sum(one.passes for one in head.solutions)),
        Cell(f"{solved} of {len(head.solutions)}", trouble=solved < len(head.solutions)),
    ]


def shots_metric(suite: Suite) -> Metric:
    """What scores of few shots are shown by: that of the choice, or accuracy where it has none."""
    metric = suite.test_metric
    scores = [one for head in suite.heads for few in head.few_shots for one in few.test]
    known = metric.name in IN_SCORES or all(one.value is not None for one in scores)
    return metric if known else metric_of("accuracy")


def shots_table(suite: Suite) -> Table:
    """Test scores of heads of few training rows, mean ± standard deviation, best set first."""
    metric, heads = shots_metric(suite), [head for head in suite.ranking if head.few_shots]
    sizes = {few.label: few for head in heads for few in head.few_shots}
    rows = list[list[Cell | str]]()
    for head in heads:
        of = {few.label: few.mean(metric.name) for few in head.few_shots}
        rows.append([head.name, *(_mean_cell(of.get(label), metric) for label in sizes)])
    repeats = max(few.repeats for few in sizes.values())
    title = f"Few labels: test {metric.axis}"
    names = [label if few.shots else f"{label} of rows" for label, few in sizes.items()]
    columns: list[Column | str] = [Column("feature set", words=True), *names]
    return make_table(title, columns, rows, 0, f"± standard deviation over {repeats} draws")


def _mean_cell(found: tuple[float, float] | None, metric: Metric) -> Cell:
    """Mean ± standard deviation; the latter is 0 where all rows are drawn."""
    if found is None:
        return Cell("–")
    mean, spread = (f"{metric.factor * one:.{1 if metric.unit == '%' else 3}f}" for one in found)
    return Cell(mean, spread if found[1] else "")


def _path_row(line: PathLine, metric: Metric, *, sparse: bool) -> list[Cell | str]:
    status = f"{line.status}{' ◄' * line.chosen}"
    return [
        f"{line.strength:.3g}",
        str(line.passes),
        f"{line.cost:.4f}",
        f"{line.gap:.1e}" if line.bounded else "no bound",
        f"{line.relative_gap:.1e}" if line.bounded else "no bound",
        f"{line.norm:.3g}",
        *([f"{line.features:,}"] if sparse else []),
        f"{line.train.accuracy.mean:.2f}",
        Cell(f"{line.held_out.accuracy.mean:.2f}", f"{line.held_out.accuracy.error:.2f}"),
        f"{line.train.loss.mean:.3f}",
        Cell(f"{line.held_out.loss.mean:.4f}", f"{line.held_out.loss.error:.4f}"),
        *([] if line.held_out.value is None else [_estimate(line.held_out.value, metric)]),
        Cell(status, trouble=line.trouble),
    ]


def _estimate(value: Estimate, metric: Metric) -> Cell:
    form = ".2f" if metric.unit == "%" else ".4f"
    return Cell(f"{value.mean:{form}}", f"{value.error:{form}}")
