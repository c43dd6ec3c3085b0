"""Many labels a row: K logistic problems on the same rows, from arrays to files and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from sklearn import metrics as theirs
from sklearn.linear_model import LogisticRegression

import onelayer as ol
from onelayer.data.classes import strata
from onelayer.data.rows import Rows
from onelayer.engines import ENGINE_NAMES, streaming
from onelayer.errors import OnelayerError
from onelayer.model.metrics import measure, metric_of, metrics_of
from onelayer.model.predictions import write_predictions
from onelayer.model.scored_rows import scored_rows
from onelayer.objective.loss import sigmoid
from onelayer.objective.penalty import Penalty
from onelayer.solver.many_labels import certify_labels
from onelayer.solver.solver import describe_solution

Array = NDArray[Any]

NAMES = ("sea", "sky", "sun", "sand")


def problem(rows: int = 300, features: int = 6, labels: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Features of several sizes, and labels that partly follow from them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features)) * np.logspace(0, -1, features) + 0.5
    S = X @ rng.standard_normal((labels, features)).T * 2 + rng.standard_normal(labels)
    return X, (rng.random((rows, labels)) < sigmoid(S)).astype(np.uint8)


def dataset(**size: int) -> ol.Dataset:
    """Those as a data set."""
    X, Y = problem(**size)
    names = tuple(f"label {k}" for k in range(Y.shape[1]))
    return ol.Dataset(X, Y, NAMES if len(names) == 4 else names)


def quiet_splits(**size: int) -> ol.Splits:
    """Those, split."""
    X, Y = problem(**size)
    return ol.split(X, Y, class_names=NAMES)


def test_each_label_is_the_logistic_regression_of_scikit_learn() -> None:
    data, l2 = dataset(rows=400, features=8), 1e-3
    model = ol.solve(data, l2=l2, tol=1e-13, scaling="none")
    for k in range(4):
        own = LogisticRegression(
            C=1 / (2 * l2 * data.rows), tol=1e-12, max_iter=1000, solver="newton-cholesky"
        ).fit(data.X, data.y[:, k])
        np.testing.assert_allclose(model.W[k], own.coef_[0], rtol=0, atol=1e-5)
        assert model.b[k] == pytest.approx(own.intercept_[0], abs=1e-5)


def test_solving_labels_together_solves_each_alone() -> None:
    data = dataset(rows=200, features=5)
    together = ol.solve(data, l2=0.01, tol=1e-10)
    for k in range(4):
        alone = ol.solve(
            ol.Dataset(data.X, data.y[:, k], ("no", "yes")), l2=0.02, tol=1e-10
        )  # of softmax both rows of weights are half as long, and so is the penalty
        assert alone.certificate is not None
        assert together.certificate is not None
        cost, gap = (getattr(together.certificate, f"label_{n}s")[k] for n in ("cost", "gap"))
        assert cost == pytest.approx(alone.certificate.cost, abs=gap + alone.certificate.gap)
        np.testing.assert_allclose(together.W[k], alone.W[1] - alone.W[0], atol=1e-3)


def optima(X: Array, Y: Array, weights: Array, l2: Array) -> Array:
    """J* of P problems of K labels at once, (P, K): Newton's method with halved steps."""
    P, N, D = X.shape
    ones = np.concatenate([X, np.ones((P, N, 1))], axis=2)
    f = weights / weights.sum(axis=1, keepdims=True)
    ridge = 2.0 * l2[:, None, None] * np.diag(np.append(np.ones(D), 0.0))

    def cost(w: Array) -> Array:
        S = np.einsum("pnd,pkd->pnk", ones, w)
        losses = np.logaddexp(0.0, np.where(Y == 1, -S, S))
        penalty = l2[:, None] * (w[:, :, :-1] ** 2).sum(axis=2)
        return np.asarray(np.einsum("pn,pnk->pk", f, losses) + penalty)

    w = np.zeros((P, Y.shape[2], D + 1))
    for _ in range(40):
        p = sigmoid(np.einsum("pnd,pkd->pnk", ones, w))
        g = np.einsum("pn,pnk,pnd->pkd", f, p - Y, ones)
        g[:, :, :-1] += 2.0 * l2[:, None, None] * w[:, :, :-1]
        H = np.einsum("pn,pnk,pnd,pne->pkde", f, p * (1 - p), ones, ones) + ridge[:, None]
        step = np.linalg.solve(H + 1e-12 * np.eye(D + 1), g[..., None])[..., 0]
        length, now = np.ones(g.shape[:2]), cost(w)
        for _ in range(8):
            length[cost(w - length[..., None] * step) > now] *= 0.5
        w = w - length[..., None] * step
    return cost(w)


@pytest.mark.slow
def test_the_bound_of_each_label_holds_on_2000_random_problems() -> None:
    rng, P, N, D, K = np.random.default_rng(0), 500, 12, 2, 4
    X = rng.standard_normal((P, N, D)) * 10.0 ** rng.uniform(-1, 1, (P, 1, D))
    Y = (rng.random((P, N, K)) < rng.random((P, 1, K))).astype(np.uint8)
    Y[:, 0], Y[:, 1] = 0, 1  # no label is constant
    weights, l2 = rng.random((P, N)) + 0.01, 10.0 ** rng.uniform(-4, 1, P)
    lowest, engine = optima(X, Y, weights, l2), streaming()
    tight = 0
    for p in range(P):
        rows = Rows(X[p], Y[p], np.ones(D), np.zeros(D), weights=weights[p])
        W, b = rng.standard_normal((K, D)) * 10.0 ** rng.uniform(-3, 1), rng.standard_normal(K)
        certified = certify_labels(engine, rows, W, b, Penalty(l2[p]))
        for proof in (certified.given, certified.best):
            bounds = np.array(proof.label_costs) - np.array(proof.label_gaps)
            assert (bounds <= lowest[p] + 1e-9).all()
            tight += int((bounds > 0.5 * lowest[p]).sum())
        assert certified.best.cost <= certified.given.cost + 1e-12
    assert tight > 500


def test_labels_of_features_of_far_apart_sizes_are_proven_by_newtons_method() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 20)) * np.logspace(-3, 3, 20)
    Y = (rng.random((60, 3)) < 0.3).astype(np.uint8)
    model = ol.solve(ol.Dataset(X, Y, NAMES[:3]), l2=1e-6, scaling="none")
    assert model.status == "optimal"
    assert model.passes is not None
    assert model.passes < 100


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_every_engine_proves_the_same_optimum_of_many_labels(engine: str, tmp_path: Path) -> None:
    data = dataset(rows=500, features=8)
    expected, found = ol.solve(data, l2=0.01), ol.solve(data, l2=0.01, engine=engine)
    assert expected.certificate is not None
    assert found.certificate is not None
    assert found.status == "optimal"
    assert found.certificate.cost == pytest.approx(expected.certificate.cost, rel=2e-6)
    assert ol.certify(found, data, engine="reference").gap <= 2e-6 * expected.certificate.cost


def test_a_path_of_many_labels_resumes_bit_for_bit(tmp_path: Path) -> None:
    data, l2 = quiet_splits(), [0.1, 0.01, 0.001]
    whole = ol.solve_path(data, l2=l2, folds=2)
    stopped: list[int] = []

    def stop(now: Any) -> None:
        stopped.append(now.done)
        if now.done == 2:
            raise KeyboardInterrupt

    part = ol.solve_path(
        data, l2=l2, folds=2, on_progress=stop, checkpoint=ol.Checkpoint(tmp_path / "c")
    )
    assert part.interrupted
    again = ol.solve_path(
        data, l2=l2, folds=2, checkpoint=ol.Checkpoint(tmp_path / "c", resume=True)
    )
    for one, other in zip(whole.models, again.models, strict=True):
        np.testing.assert_array_equal(one.W, other.W)
        np.testing.assert_array_equal(one.b, other.b)


def test_certificates_of_labels_add_up_to_that_of_the_model() -> None:
    data = dataset()
    proof = ol.solve(data, l2=0.01).certificate
    assert proof is not None
    assert sum(proof.label_costs) == pytest.approx(proof.cost, rel=1e-12)
    assert sum(proof.label_gaps) == pytest.approx(proof.gap, rel=1e-12)
    assert all(g <= 1e-6 * c for g, c in zip(proof.label_gaps, proof.label_costs, strict=True))


def test_an_integer_weight_repeats_a_row_of_many_labels() -> None:
    (X, Y), counts = problem(rows=60), np.random.default_rng(1).integers(1, 4, 60)
    weighted = ol.Dataset(X, Y, NAMES, weights=counts.astype(float))
    repeated = ol.Dataset(X.repeat(counts, axis=0), Y.repeat(counts, axis=0), NAMES)
    models = [ol.solve(d, l2=0.01, tol=1e-12, scaling="none") for d in (weighted, repeated)]
    np.testing.assert_allclose(models[0].W, models[1].W, atol=1e-5)


def test_mini_batches_of_many_labels_end_within_the_proven_gap() -> None:
    data = quiet_splits(rows=400)
    result = ol.train(
        data, ol.Run(0.5, loss="sigmoid", l2=0.01, epochs=60, batch_size=64), scoring="f1_macro"
    )
    proof, best = result.certificates[0], ol.solve(data, l2=0.01).certificate
    assert best is not None
    assert proof.lower_bound <= best.cost + 1e-9
    assert proof.cost - best.cost <= proof.gap < 0.01
    assert result.history.train_cost[0, -1] == pytest.approx(proof.cost, rel=1e-4)
    assert 0.0 <= result.test_accuracy[0] <= 1.0
    again = ol.certify(result.best, data)
    assert again.trained_with == ""  # the loss that was trained is the one that is proven
    assert again.cost == pytest.approx(proof.cost, rel=1e-6)


@pytest.mark.parametrize("folds", [0, 3])
def test_a_path_of_many_labels_chooses_by_their_metrics(folds: int) -> None:
    path = ol.solve_path(quiet_splits(), l2=4, folds=folds, scoring="average_precision")
    assert [model.status for model in path.models] == ["optimal"] * len(path.models)
    assert path.test_metrics[0].metric == "average_precision"
    values = [np.mean([s.value for s in of]) for of in path.held_out]
    assert path.chosen == int(np.argmax(values))


def test_a_label_that_no_row_or_every_row_has_gets_no_weights_and_a_sentence() -> None:
    X, Y = problem()
    Y[:, 1], Y[:, 2] = 0, 1
    with pytest.warns(UserWarning, match="no row or every row has the labels 'sky', 'sun'"):
        model = ol.solve(ol.Dataset(X, Y, NAMES), l2=0.01)
    assert model.status == "optimal"
    assert not model.W[1:3].any()
    assert model.b[1:3].tolist() == [-50.0, 50.0]
    assert "for which no bias is best" in describe_solution(model)
    assert model.certificate is not None
    assert model.certificate.label_costs[1] < 1e-20


SCORED = {
    "accuracy": lambda y, S: theirs.accuracy_score(y, S > 0),
    "f1_macro": lambda y, S: theirs.f1_score(y, S > 0, average="macro", zero_division=0),
    "f1_micro": lambda y, S: theirs.f1_score(y, S > 0, average="micro", zero_division=0),
    "f1_weighted": lambda y, S: theirs.f1_score(y, S > 0, average="weighted", zero_division=0),
    "hamming_loss": lambda y, S: theirs.hamming_loss(y, S > 0),
    "average_precision": theirs.average_precision_score,
    "roc_auc": theirs.roc_auc_score,
    "label_ranking_average_precision": theirs.label_ranking_average_precision_score,
}


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("kind", ["random", "tied", "constant", "nothing said"])
def test_metrics_of_many_labels_are_scikit_learns(name: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    Y = (rng.random((70, 5)) < [0.5, 0.1, 0.9, 0.3, 0.5]).astype(np.uint8)
    Y[0], Y[1] = 0, 1
    S = rng.standard_normal((70, 5)) + Y
    S = {"tied": np.rint(S), "constant": np.ones_like(S), "nothing said": S - 100}.get(kind, S)
    expected = SCORED[name](Y, S)
    assert metric_of(name).value(scored_rows(Y, S)) == pytest.approx(expected, abs=1e-12)


def test_weighted_metrics_of_many_labels_are_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    Y, S, w = (rng.random((50, 3)) < 0.4).astype("u1"), rng.standard_normal((50, 3)), rng.random(50)
    scored = scored_rows(Y, S, w)
    for name, figure in (
        ("average_precision", theirs.average_precision_score),
        ("label_ranking_average_precision", theirs.label_ranking_average_precision_score),
    ):
        expected = figure(Y, S, sample_weight=w)
        assert metric_of(name).value(scored) == pytest.approx(expected, abs=1e-12)
    expected = theirs.f1_score(Y, S > 0, average="macro", sample_weight=w)
    assert metric_of("f1_macro").value(scored) == pytest.approx(expected, abs=1e-12)


def test_every_metric_of_many_labels_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(5)
    Y = (rng.random((80, 3)) < 0.4).astype("u1")
    found = measure(metrics_of(",".join(SCORED)), scored_rows(Y, Y + rng.standard_normal((80, 3))))
    assert all(one.low < one.value < one.high for one in found)
    drawn = {one.method.split(",")[0] for one in found if one.metric != "accuracy"}
    assert drawn == {"bootstrap"}


def test_evaluation_of_many_labels_says_what_metrics_say() -> None:
    data = quiet_splits()
    found: Any = ol.solve(data, l2=0.01).evaluate(data, scoring="f1_micro,average_precision")
    for one in found.metrics:
        assert found.figures[one.metric] == pytest.approx(one.value, abs=1e-12)
    assert found.as_dict()["labels"][0]["name"] == "sea"
    assert "mean average precision" in repr(found)
    assert "sand" in found._repr_html_()


def test_a_model_of_many_labels_travels_and_is_exported(tmp_path: Path) -> None:
    data = quiet_splits()
    model = ol.solve(data, l2=0.01)
    X, said = data.test.X, model.predict(data.test)
    assert said.shape == data.test.y.shape
    np.testing.assert_array_equal(said, model.predict_proba(X) > 0.5)
    model.save(tmp_path / "m.safetensors")
    again = ol.Model.load(tmp_path / "m.safetensors")
    assert again.many_labels
    assert again.certificate == model.certificate
    np.testing.assert_array_equal(again.predict(X), said)
    rest = model.to_sklearn()
    np.testing.assert_array_equal(rest.predict(X), said)
    np.testing.assert_allclose(rest.predict_proba(X), model.predict_proba(X), atol=1e-12)
    for precision in ("float64", "float32"):
        assert model.to_onnx(tmp_path / "m.onnx", precision=precision).rows == 256


def test_predictions_of_many_labels_name_those_of_each_row(tmp_path: Path) -> None:
    data = quiet_splits()
    model, X = ol.solve(data, l2=0.01), data.test.X
    expected = [[NAMES[k] for k in np.flatnonzero(row)] for row in model.predict(X)]
    for suffix in (".csv", ".parquet", ".npy"):
        write_predictions(model, X, tmp_path / f"p{suffix}")
    listed = pyarrow.parquet.read_table(tmp_path / "p.parquet")["label"].to_pylist()
    joined = pyarrow.csv.read_csv(tmp_path / "p.csv")["label"].to_pylist()
    assert listed == expected
    assert joined == [";".join(row) for row in expected]
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy")["label"], model.predict(X))


def test_lists_of_labels_are_columns_of_0_and_1() -> None:
    X, Y = problem()
    lists = [[NAMES[k] for k in np.flatnonzero(row)] for row in Y]
    data, order = ol.split(X, lists), [NAMES.index(n) for n in sorted(NAMES)]
    assert data.train.class_names == tuple(sorted(NAMES))
    columns = ol.split(X, Y[:, order], class_names=sorted(NAMES))
    np.testing.assert_array_equal(data.train.y, columns.train.y)
    np.testing.assert_array_equal(data.train.y, ol.split(X, Y[:, order].astype(bool)).train.y)


def written(folder: Path) -> dict[str, tuple[Any, Any]]:
    """The same rows and labels in every form of a file: what to load, and how labels are named."""
    X, Y = problem()
    np.save(folder / "X.npy", X)
    np.save(folder / "Y.npy", Y)
    np.savez(folder / "a.npz", X=X, y=Y)
    features = {f"x{i}": X[:, i] for i in range(X.shape[1])}
    columns = pa.table(features | {f"is_{n}": Y[:, k] for k, n in enumerate(NAMES)})
    lists = [[f"is_{NAMES[k]}" for k in np.flatnonzero(row)] for row in Y]
    listed = pa.table(features | {"label": pa.array(lists)})
    numbers = pa.table({"embedding": pa.array(list(X)), "label": pa.array(Y.tolist())})
    pyarrow.csv.write_csv(columns, folder / "c.csv")
    for name, table in {"columns": columns, "lists": listed, "numbers": numbers}.items():
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    return {
        "matrix": (folder / "X.npy", folder / "Y.npy"),
        "npz": (folder / "a.npz", None),
        "csv columns": (folder / "c.csv", "is_*"),
        "columns": (folder / "columns.parquet", "is_sea,is_sky,is_sun,is_sand"),
        "lists": (folder / "lists.parquet", None),
        "lists of 0 and 1": (folder / "numbers.parquet", None),
        "frame": (columns.to_pandas(), "is_*"),
        "lists beside a frame": (pa.table(features), lists),
    }


@pytest.mark.parametrize("stream", [None, True])
def test_every_form_of_a_file_gives_the_same_labels(tmp_path: Path, stream: bool | None) -> None:
    found = {}
    for form, (source, labels) in written(tmp_path).items():
        if stream and form in ("csv columns", "npz", "frame", "lists beside a frame"):
            continue
        data = ol.load(source, labels=labels, stream=stream, log=lambda line: None)
        names = list(data.train.class_names)
        named = [names.index(f"is_{n}") if f"is_{n}" in names else k for k, n in enumerate(NAMES)]
        parts = (data.train, data.validation, data.test)
        rows = np.concatenate([np.asarray(part.X[:], float) for part in parts])
        y = np.concatenate([part.y for part in parts])[:, named]
        found[form] = y[np.lexsort(rows.T)]
        assert data.train.many_labels
    assert len(found) == (4 if stream else 8)
    for y in found.values():
        np.testing.assert_array_equal(y, found["matrix"])


@pytest.mark.usefixtures("blank_pages")
def test_a_probe_of_many_labels_ranks_feature_sets_by_their_metrics(tmp_path: Path) -> None:
    X, Y = problem()
    noise = np.random.default_rng(0).standard_normal(X.shape)
    suite = ol.probe({"of it": X, "of nothing": noise}, Y, l2=[0.1, 0.01], scoring="f1_macro")
    assert suite.best.model.many_labels
    assert [head.model.status for head in suite.heads] == ["optimal"] * 2
    assert suite.best.name == "of it"
    suite.save(tmp_path / "suite")
    assert ol.Suite.load(tmp_path / "suite").best.name == suite.best.name


def test_a_probe_of_many_labels_learns_from_fractions_beside_its_baselines() -> None:
    X, Y = problem()
    how: dict[str, Any] = {"l2": [0.1, 0.01], "scoring": "f1_macro"}
    suite = ol.probe({"a": X}, Y, fractions=[0.1, 0.3], repeats=2, baselines=True, **how)
    names = [one.name for one in suite.best.baselines]
    assert names == ["label frequencies", "5 nearest", "20 nearest"]
    nearest = suite.best.baselines[2]
    assert suite.best.baselines[0].test.accuracy < nearest.test.accuracy
    assert "Few labels: test macro F1" in str(suite)


def test_a_probe_of_many_labels_learns_from_shots_of_each_label() -> None:
    X, Y = problem()
    (head,) = ol.probe({"a": X}, Y, shots=[2, 20], repeats=2, l2=[0.1, 0.01]).heads
    few, more = head.few_shots
    assert few.rows <= 2 * Y.shape[1]
    assert few.optimal == more.optimal == 2 * 2
    assert few.mean()[0] < more.mean()[0]
    with pytest.raises(OnelayerError, match="5000 shots need as many training rows of every label"):
        ol.probe({"a": X}, Y, shots=[5000])


@pytest.mark.slow
def test_pages_of_many_labels_show_their_equation(tmp_path: Path) -> None:
    data = quiet_splits()
    result = ol.sweep(data, learning_rate=0.5, loss="sigmoid", epochs=2)
    result.save(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "1 / (1 + e<sup>−<i>s</i></sup>)" in page
    assert "with any of 4 labels" in page.replace("\u00a0", " ")
    again = ol.Result.load(tmp_path / "run")
    np.testing.assert_array_equal(again.test_accuracy, result.test_accuracy)


def test_every_part_of_a_split_has_its_part_of_the_rarest_label() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((500, 3)) < [0.6, 0.5, 0.04]).astype(np.uint8)
    data = ol.split(rng.standard_normal((500, 2)), Y, test_size=0.2, validation_size=0.25)
    rare = [int(part.y[:, 2].sum()) for part in (data.train, data.validation, data.test)]
    assert abs(rare[2] - 0.2 * sum(rare)) <= 1
    assert set(strata(Y)[Y[:, 2] == 1].tolist()) == {2}


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda X, Y: ol.split(X, Y * 2), "labels a row are 0 or 1, but row"),
        (lambda X, Y: ol.split(X, Y, class_names=("a", "b")), "a column for each of the 2 labels"),
        (lambda X, Y: ol.Dataset(X, Y[:9], NAMES), "one label for each of the 300 rows"),
        (lambda X, Y: ol.Dataset(X, Y[:, 0], NAMES, label_type="many"), "need y of shape"),
        (lambda X, Y: ol.train(ol.split(X, Y), ol.Run(0.1, epochs=1)), "loss='sigmoid'"),
        (lambda X, Y: ol.solve(ol.split(X, Y), 0.1, class_weight="balanced"), "of one class"),
        (
            lambda X, Y: ol.solve_path(ol.split(X, Y), scoring="matthews_corrcoef"),
            "is for one class a row",
        ),
        (
            lambda X, Y: ol.solve_path(ol.split(X, Y[:, 0]), scoring="f1_micro"),
            "is for many labels a row",
        ),
        (lambda X, Y: ol.split(X, np.zeros(len(X), np.dtype([]))), "the labels have no columns"),
        (lambda X, Y: ol.split(X, [["a", "b"], ["a"]] + [[1.5]] * 298), "must be text or integers"),
        (
            lambda X, Y: ol.solve(ol.split(X, Y), 0.1).evaluate(ol.Dataset(X, Y[:, 0], ("0", "1"))),
            "the model is of many labels a row, and the rows have one class each",
        ),
        (
            lambda X, Y: ol.solve(ol.split(X, Y), 0.1).evaluate(ol.Dataset(X, Y[:, :3], NAMES[:3])),
            "lacks 0, 1, 2, 3",
        ),
        (lambda X, Y: ol.check_gradient(ol.split(X, Y)), "loss='sigmoid'"),
        (lambda X, Y: ol.suggest_learning_rate(ol.split(X, Y)), "loss='sigmoid'"),
        (lambda X, Y: ol.fit_best_linear(ol.split(X, Y)), "is for one class a row"),
    ],
)
def test_bad_labels_get_one_sentence(work: Any, words: str) -> None:
    with pytest.raises(OnelayerError) as caught:
        work(*problem())
    assert words in str(caught.value)
    assert str(caught.value).count(". ") == 0
