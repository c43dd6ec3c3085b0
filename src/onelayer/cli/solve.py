"""Commands about the optimum: solve, probe, certify, suggest-learning-rate, best-linear."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer

from onelayer import solver
from onelayer.cli import options as opt
from onelayer.cli import output
from onelayer.cli.app import OptionGroup, command
from onelayer.cli.config import command_in_force
from onelayer.cli.models import models_of
from onelayer.cli.runs import finish
from onelayer.cli.train import CheckpointOptions, training_in
from onelayer.data import Dataset
from onelayer.data.formats.registry import read_labels
from onelayer.data.rows import weight_sum
from onelayer.data.scaling import check_scaling
from onelayer.engines import Engine
from onelayer.engines.processes import processes
from onelayer.errors import SettingsError, home_path, require_number, require_whole
from onelayer.experiments import best_linear as experiment
from onelayer.experiments.best_linear import Recipe
from onelayer.experiments.probe import probe as probe_sets
from onelayer.files.atomic import staged_file
from onelayer.model import Model
from onelayer.objective.loss import LOSSES, check_loss
from onelayer.report import tables
from onelayer.training.loop import Progress


@dataclass(frozen=True)
class SolutionOptions(CheckpointOptions):
    """Solutions in the run folder as they come.

    Output:
        resume: Resume bit for bit after the last λ whose solution is in the run folder.
        checkpoint-every SECONDS: Seconds between writing solutions.
    """

    checkpoint_every: float = 1.0


@dataclass(frozen=True)
class PathOptions(OptionGroup):
    """How the λ of a path are solved, and how one of them is chosen.

    Search:
        tol X: Relative gap to the optimum to prove for each λ.
        max-passes N: Maximum number of passes over the rows for each λ.
        folds N: Cross-validation folds used to choose λ; 0 uses the validation rows.
        scoring NAME: Metric to choose by: accuracy, neg_log_loss, roc_auc, f1_macro, …
        rule NAME: best, or one-standard-error: the largest λ within one standard error of the best.
        refit/no-refit: Fit the chosen λ to the training and validation rows together in the end.
    """

    intercept: bool = True
    class_weight: str | None = None
    tol: float = 1e-6
    max_passes: int = 1000
    folds: int = 0
    scoring: str = "accuracy"
    rule: str = "best"
    refit: bool = False

    def checked(self, penalty: opt.PenaltyOptions, scaling: str) -> dict[str, Any]:
        """The arguments of `solve_path`; a wrong value is refused before the data are loaded."""
        solver.Choice(self.scoring, self.rule)  # type: ignore[arg-type]
        check_scaling(scaling)
        penalty.values(rows=1)
        require_number("tol", self.tol, "a finite number above 0", above=0)
        require_whole("max_passes", self.max_passes, 1)
        if self.folds:
            require_whole("folds", self.folds, 2)
        weighing = opt.parse_class_weight(self.class_weight)
        return vars(self) | {"class_weight": weighing, "scaling": scaling}


@command("Training")
def solve(
    context: typer.Context,
    *,
    penalty: opt.PenaltyOptions,
    l1: str | None = None,
    l1_ratio: float = 1.0,
    grouped: bool = False,
    penalty_factors: str | None = None,
    search: PathOptions,
    data: opt.DataOptions,
    scaling: str = "auto",
    arithmetic: opt.EngineOptions,
    out: Path = Path("runs/solve"),
    overwrite: bool = False,
    checkpoints: SolutionOptions,
    json: bool = False,
    config: Path | None = None,
) -> None:
    """Solve for the optimum, with a proof: of one λ, or of many and choose one.

    VALUES is a value, a list 0.1,0.01 or a log-spaced range low:high:n, as in 1e-4:1:12. Without
    --l2 or --C, λ starts so large that almost nothing is learned and goes down, 20 values for every
    four decades, until the held-out score gets worse.

    Examples:
        onelayer solve --data digits --l2 0.01
        onelayer solve --data digits --l2 1e-4:1:12 --folds 5 --scoring neg_log_loss
        onelayer solve --data digits --C 1
        onelayer solve --data digits --l1 auto --l1-ratio 0.5

    Hyperparameters:
        l1 VALUES: Penalty λ₁ Σ |W|, which chooses features; auto: 20 values from the data.
        l1-ratio X: Beside each λ₁ the cost has λ Σ W², as of scikit-learn's l1_ratio; 1: none.
        grouped: Let l1 choose each feature for all classes or for none.
        penalty-factors FILE|COLUMN=X: A file with the factor of each feature's penalty, or those of
            some features, as in age=0,site=0; the others are 1, and 0 is not penalised.
    """
    engine = opt.chosen_engine(arithmetic)
    how = search.checked(penalty, scaling)
    how["penalty_factors"] = opt.parse_penalty_factors(penalty_factors)
    command = command_in_force(context)
    with training_in(context, out, checkpoints, command, data, overwrite=overwrite) as checkpoint:
        splits = opt.load_splits(data)
        default = penalty == opt.PenaltyOptions()
        l2s = 20 if default else penalty.values(weight_sum(splits.train, how["class_weight"]))
        if l1 is not None or l1_ratio != 1.0 or grouped:
            l1s = 20 if l1 == "auto" else l1 and opt.parse_values("--l1", l1)
            how |= {"l1": l1s, "l1_ratio": l1_ratio, "grouped": grouped}
            l2s = None if default else l2s
        opt.note_estimate(splits, engine)
        with output.progress_bar("solving", "λ") as show:
            how |= {"engine": engine, "on_progress": show, "checkpoint": checkpoint}
            path = solver.solve_path(splits, l2s, **how)
        finish(
            replace(path, command=opt.as_loaded(command, splits)), checkpoint, splits, as_json=json
        )


def parse_sizes(option: str, typed: str | None) -> list[float]:
    """The numbers of a list; none where nothing was typed."""
    return [] if typed is None else list(opt.parse_values(option, typed))


@command("Training")
def probe(
    context: typer.Context,
    *,
    penalty: opt.PenaltyOptions,
    search: PathOptions,
    folds_from: str | None = None,
    shots: str | None = None,
    fractions: str | None = None,
    repeats: int = 5,
    baselines: bool = False,
    data: opt.SetOptions,
    scaling: str = "auto",
    arithmetic: opt.EngineOptions,
    out: Path = Path("runs/probe"),
    overwrite: bool = False,
    checkpoints: SolutionOptions,
    json: bool = False,
    config: Path | None = None,
) -> None:
    """Solve a λ path, with proofs, for each of many feature sets of the same rows, and rank them.

    The sets are the layers or poolings of a network, say, as arrays with the same rows in the same
    order; all have one split. Names such as layer3/mean have two parts: a layer and a pooling. With
    --resume, sets that are finished in the run folder are kept: a killed command goes on, and sets
    that were added to the data are added to a finished suite.

    Examples:
        onelayer probe --data acts.npy --labels y.npy
        onelayer probe --data acts.npz --labels y.npy --l2 1e-4:1:12 --tol 1e-4
        onelayer probe --data acts.npz --labels y.npy --shots 1,2,4,8,16 --repeats 5

    Search:
        folds-from FILE: File with the fold that holds each row out, −1 for none; those of the
            training rows choose λ.
        shots VALUES: Training rows of each class, as in 1,2,4,8,16: what heads of so few rows do.
            With --groups of as many groups as there are.
        fractions VALUES: The same of fractions of the training rows, as in 0.01,0.1,1; with
            --groups of whole groups.
        repeats N: How often shots or fractions are drawn.
        baselines/no-baselines: Measure nearest neighbours, class means and the majority class as
            well.
    """
    if processes() > 1:
        raise SettingsError("probe works in one process; start it without torchrun.")
    if data.data is None:
        raise SettingsError("probe needs feature sets; name them with --data.")
    engine = opt.chosen_engine(arithmetic)
    how = search.checked(penalty, scaling)
    if folds_from is not None:
        if search.folds:
            raise SettingsError("give either --folds or --folds-from, not both.")
        how["folds"] = read_labels(home_path(folds_from))
    sizes = parse_sizes("--shots", shots)
    how |= {"shots": [int(n) if n.is_integer() else n for n in sizes], "repeats": repeats}
    how |= {"fractions": parse_sizes("--fractions", fractions), "baselines": baselines}
    command = command_in_force(context)
    with training_in(context, out, checkpoints, command, None, overwrite=overwrite) as checkpoint:
        sets = opt.load_sets(data)
        rows = weight_sum(sets.rows.train, how["class_weight"])
        how["l2"] = 20 if penalty == opt.PenaltyOptions() else penalty.values(rows)
        with output.progress_bar("probing", "λ") as show:
            how |= {"engine": engine, "on_progress": show, "checkpoint": checkpoint}
            suite = probe_sets(sets, **how)
        finish(replace(suite, command=command), checkpoint, None, as_json=json)


@command("Models")
def certify(
    context: typer.Context,
    *,
    model: str,
    l2: float | None = None,
    l1: float | None = None,
    penalty_factors: str | None = None,
    data: opt.DataOptions,
    trust: bool = False,
    arithmetic: opt.EngineOptions,
    json: bool = False,
) -> None:
    """Bound how far trained models are from the optimum of their λ.

    The cost is that of the training rows; of other data than the models were trained on, that of
    all rows.

    Example:
        onelayer certify runs/train

    Positional arguments:
        model MODEL: A run folder, for all of its models; RUN:SETTING, or a model's file.

    Hyperparameters:
        l2 X: L2 penalty λ. Default: the model's own.
        l1 X: Penalty λ₁ Σ |W|. Default: the model's own.
        penalty-factors FILE|COLUMN=X: Factors of the features' penalties, as of solve. Default: the
            model's own.
    """
    if l2 is not None:
        require_number("l2 (λ)", l2, "a finite number, 0 or above", least=0)
    engine, named_models = opt.chosen_engine(arithmetic), models_of(model)
    if l2 is None and any(one.model.l2 is None for one in named_models):
        raise SettingsError("the model does not say its λ; pass --l2.")
    train_set = opt.rows_for(context, data, named_models[0], "train", trust=trust)
    figures, factors = [], opt.parse_penalty_factors(penalty_factors)
    for one in named_models:
        if one.feature_set not in (None, named_models[0].feature_set):
            train_set = opt.rows_for(context, data, one, "train", trust=trust)
        own: dict[str, Any] = {"l2": l2, "l1": l1, "penalty_factors": factors}
        certificate = solver.certify(one.model, train_set, engine=engine, **own)
        figures.append({"name": one.name} | asdict(certificate))
        if not json:
            asked = l2 is not None or l1 is not None
            of = f", certified for {certificate.penalty}" * asked
            of += ", with --penalty-factors" * (factors is not None)
            output.print_line(f"{one.name}{of}: {certificate.sentence}")
    if json:
        output.print_json(figures)


@command("Training", "suggest-learning-rate")
def suggest_learning_rate(
    *,
    penalty: opt.PenaltyOptions,
    batch_size: int = 100,
    loss: str = LOSSES[0],
    intercept: bool = True,
    class_weight: str | None = None,
    data: opt.DataOptions,
    scaling: str = "auto",
    arithmetic: opt.EngineOptions,
    json: bool = False,
) -> None:
    """Compute the learning rates that are stable on a data set.

    Example:
        onelayer suggest-learning-rate --data digits --batch-size 50

    Hyperparameters:
        batch-size N: Rows per batch.
    """
    penalty.one(rows=1)
    require_whole("batch_size", batch_size, 1)
    check_loss(loss, 0.0)
    check_scaling(scaling)
    weighing = opt.parse_class_weight(class_weight)
    engine = opt.chosen_engine(arithmetic)
    train_set = opt.load_splits(data).train
    how: dict[str, Any] = {"batch_size": batch_size, "loss": loss, "scaling": scaling}
    how |= {"intercept": intercept, "class_weight": weighing}
    l2 = penalty.one(weight_sum(train_set, weighing))
    bounds = solver.suggest_learning_rate(train_set, l2=l2, engine=engine, **how)
    if json:
        rates = ("learning_rate", "stable", "batch_stable", "start_stable")
        output.print_json({name: getattr(bounds, name) for name in rates} | asdict(bounds))
    else:
        output.print_table(tables.advice_table(bounds))


@dataclass(frozen=True)
class RecipeOptions(Recipe, OptionGroup):
    """A recipe, each of whose settings is an option.

    Hyperparameters:
        q X: Loss exponent q: 0 cross-entropy … 1 error rate.
        l2 X: L2 penalty λ.
        moves N: Maximum random shift in pixels.
        flips/no-flips: Augment with horizontal flips.
        epochs N: Passes over the training rows.
        batch-size N: Rows per batch.
        learning-rate, lr X: Learning rate η, a fraction of a Newton step.
        momentum X: Nesterov momentum μ.
    """


@command("Training", "best-linear")
def best_linear(
    *,
    recipe: RecipeOptions,
    seeds: int = 5,
    folds: int = 5,
    compare: bool = False,
    data: opt.DataOptions,
    arithmetic: opt.EngineOptions,
    out: Path = Path("best-linear.safetensors"),
    config: Path | None = None,
) -> None:
    """Fit the most accurate linear classifier of raw pixels.

    The validation rows are training rows here. Folds estimate the accuracy before the model is
    scored on the test rows, once, after it has been saved.

    Example:
        onelayer best-linear --data digits --moves 0 --no-flips --epochs 20

    Search:
        seeds N: Number of fits, whose mean is the model.
        folds N: Folds that estimate the accuracy first; 0 for none.
        compare: Choose among several recipes by the folds.

    Output:
        out FILE: Model file to write.
    """
    require_whole("seeds", seeds, 1)
    if folds:
        require_whole("folds", folds, 2)
    if compare and (recipe != RecipeOptions() or not folds):
        raise SettingsError(
            "--compare chooses the recipe by folds; drop --folds 0 and the recipe's own options."
        )
    output.refuse_overwriting(out, config, *vars(data).values())
    engine = opt.chosen_engine(arithmetic)
    splits = opt.load_splits(data, all_batches=True)
    rows = splits.train_and_validation
    recipe.check(rows)
    # The file is staged first: a path that cannot be written to is refused before the work.
    with staged_file(out) as staging:
        recipes = experiment.CANDIDATES if compare else (recipe,)
        best = _choose(rows, recipes, folds, engine) if folds else recipe
        with output.progress_bar("fitting", "epochs") as show:

            def fit(seed: int) -> Model:
                def report(epoch: int, epochs: int) -> None:
                    show(Progress(seed * epochs + epoch, seeds * epochs))

                return experiment.fit_best_linear(
                    rows, best, seed=seed, engine=engine, on_progress=report
                )

            maps = list(map(fit, range(seeds)))
        mean = experiment.mean_model(maps)
        mean.save(staging)
    output.print_line(f"{rows.rows:,} training rows, mean of {seeds} fits: {out}")
    judged = [model.evaluate(splits.test, engine) for model in maps]
    output.console.print()
    output.print_table(tables.maps_table(judged, mean.evaluate(splits.test, engine), range(seeds)))
    output.print_line(tables.seeds_sentence(judged))


def _choose(rows: Dataset, recipes: tuple[Recipe, ...], folds: int, engine: Engine) -> Recipe:
    """The recipe with the best accuracy over the folds; prints the table of all."""
    with output.progress_bar("judging by folds", "epochs") as show:

        def report(done: int, total: int) -> None:
            show(Progress(done, total))

        compared = experiment.compare_recipes(
            rows, recipes, folds=folds, engine=engine, on_progress=report
        )
    best = max(compared, key=lambda held_out: held_out.accuracy)
    output.print_table(tables.held_out_table(compared, best))
    output.console.print()
    return best.recipe
