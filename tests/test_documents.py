"""Every document is true when run: its Python, what its comments say is printed, its commands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier

import onelayer
from onelayer import SoftmaxClassifier, SoftmaxClassifierCV
from onelayer.experiments.reproduce import EXPERIMENTS
from scripts.notebooks import TUTORIALS, notebook
from tests.cli.conftest import call

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FOUR_EXPERIMENTS = DOCS / "tutorial" / "four-experiments.md"
API = sorted((DOCS / "reference" / "api").glob("*.md"))

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```",
    flags=re.DOTALL | re.MULTILINE,
)
OPTION = re.compile(r"(?<!\S)--[a-zA-Z][\w-]*|(?<=[/,])--[a-zA-Z][\w-]*")
# What a comment behind a print says: `print(1 + 1)  # 2`.
SAID = re.compile(r"^print\(.*\)  # (.+)$", flags=re.MULTILINE)
GAP = re.compile(r"\b\d(?:\.\d)?e-\d\d\b")
# Blocks that need what the tests do not install, by page.
NOT_RUN = {"from-pytorch.md": 2, "mteb.md": 2, "dino.md": 1}
LANGUAGES = {"python", "console", "sh", "toml", "json", "math", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block; with a reason it is not run."""

    language: str
    code: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["code"], match["reason"]) for match in found]


def script(page: Path) -> str:
    """The blocks of a page that are run, in order: they continue one another."""
    return "\n".join(b.code for b in blocks(page) if b.language == "python" and b.reason is None)


@cache
def run(code: str) -> list[str]:
    """Run a script in an empty folder, with warnings as errors, and return what it printed."""
    words = [sys.executable, "-W", "error", "-c", code]
    with TemporaryDirectory() as folder:
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@cache
def run_notebook(page: Path) -> list[str]:
    """Run a page as the notebook that it becomes, with warnings as errors; what it printed."""
    made = nbformat.from_dict(notebook(page.read_text(encoding="utf-8")))
    nbformat.validate(made)
    strict = nbformat.v4.new_code_cell(
        "import warnings; warnings.filterwarnings('error', module='__main__|onelayer')"
    )
    made.cells.insert(0, strict)
    with TemporaryDirectory() as folder:
        NotebookClient(made, resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    return "".join(
        output["text"] for output in outputs if output.get("name") == "stdout"
    ).splitlines()


def command_lines(page: Path) -> list[str]:
    """Commands of the terminal blocks, and of the README's indented lines, without comments."""
    text = page.read_text(encoding="utf-8")
    console = "\n".join(b.code for b in blocks(page) if b.language == "console")
    lines = [*console.splitlines(), *re.findall(r"^    (onelayer .*)$", text, flags=re.MULTILINE)]
    return [line.split("#")[0] for line in lines if line.startswith("onelayer ")]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command shows of its options."""
    code, shown, _ = call(*command.split(), "--help", capsys=capsys)
    assert code == 0
    return shown


def name_of(line: str) -> str:
    """The command of a line: train, data list, …"""
    found = re.match(r"onelayer ([a-z-]+(?: list| fetch)?)", line)
    assert found is not None, line
    return found[1]


def said_in_order(said: list[str], printed: list[str]) -> str | None:
    """The first remark that is no printed line, or comes out of order; None if all are true."""
    rest = iter(printed)
    return next((r for r in said if not any(is_said(r, line) for line in rest)), None)


def is_said(remark: str, line: str) -> bool:
    """Whether a line is the remark, but for the digits of a gap, such as 2.8e-07.

    They depend on the order of BLAS's sums, and so on the processor: half or twice as much will do.
    """
    if GAP.sub("", remark) != GAP.sub("", line):
        return False
    gaps = zip(GAP.findall(remark), GAP.findall(line), strict=True)
    return all(0.5 <= float(printed) / float(said) <= 2.0 for said, printed in gaps)


SNIPPETS = [block.code for block in blocks(README) if block.language == "python"]
LINES = [line for page in [README, *PAGES] for line in command_lines(page)]
COMMANDS = sorted(set(map(name_of, LINES)))


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_each_snippet_of_the_readme_runs_alone_and_prints_what_its_comments_say(
    snippet: str,
) -> None:
    printed = run(snippet)
    said = [remark for remark in SAID.findall(snippet) if remark.startswith("cost ")]
    assert said_in_order(said, printed) is None


def test_the_table_of_the_readme_is_what_its_first_snippet_prints() -> None:
    [table] = [block.code for block in blocks(README) if block.language == "text"]
    printed = run(SNIPPETS[0])
    assert said_in_order(table.splitlines(), printed) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:(zmq|tornado|jupyter_client).*")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if script(page)], ids=lambda page: str(page.stem)
)
def test_the_snippets_of_a_page_run_in_order_and_print_what_its_comments_say(page: Path) -> None:
    """A tutorial is run as its notebook."""
    code = script(page)
    printed = run_notebook(page) if page.parent == TUTORIALS else run(code)
    wrong = said_in_order(SAID.findall(code), printed)
    assert wrong is None, f"{page.name} says {wrong!r}, but what it prints is {printed}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:(zmq|tornado|jupyter_client).*")
def test_a_notebook_prints_what_a_script_prints() -> None:
    page = TUTORIALS / "first-steps.md"
    assert run_notebook(page) == run(script(page))


def test_a_remark_that_is_not_printed_or_comes_out_of_order_is_noticed() -> None:
    assert said_in_order(["1", "2"], ["1", "between", "2"]) is None
    assert said_in_order(["1", "3"], ["1", "2"]) == "3"
    assert said_in_order(["2", "1"], ["1", "2"]) == "1"
    assert said_in_order(["gap 2.8e-07"], ["gap 3.1e-07"]) is None
    assert said_in_order(["gap 2.8e-07"], ["gap 2.8e-08"]) == "gap 2.8e-07"
    assert said_in_order(["cost 0.97788"], ["cost 0.97787"]) == "cost 0.97788"


def test_no_snippet_is_left_out_without_a_reason_and_a_place_in_the_list() -> None:
    left_out = {p.name: [b.reason for b in blocks(p) if b.reason is not None] for p in PAGES}
    assert {name: len(reasons) for name, reasons in left_out.items() if reasons} == NOT_RUN
    for page in [README, *PAGES]:
        marks = page.read_text(encoding="utf-8").count("<!-- not run:")
        assert marks == len(left_out.get(page.name, [])), f"{page.name}: a mark is on no block"


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: str(page.stem))
def test_every_fenced_block_is_one_that_the_tests_know(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert page.read_text(encoding="utf-8").count("```") == 2 * len(blocks(page))


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: str(page.stem))
def test_settings_files_of_the_documents_name_options_that_exist(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        if block.language == "toml":
            shown = help_of("train", capsys)
            for key in tomllib.loads(block.code):
                assert f"--{key}" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_documents_and_their_options_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(command, capsys)
    used = {flag for line in LINES if name_of(line) == command for flag in OPTION.findall(line)}
    assert used <= set(OPTION.findall(shown))


@pytest.mark.parametrize("page", [README, FOUR_EXPERIMENTS], ids=lambda p: str(p.stem))
def test_the_reported_figures_are_those_of_the_experiments(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for e in EXPERIMENTS:
        start = rf"^\| {e.l2:g} \| {e.learning_rate:g} \| {100 * e.train_accuracy:.2f} \| "
        end = rf" \| {100 * e.test_accuracy:.2f} \| "
        assert re.search(start + r"[^|]+" + end, text, flags=re.MULTILINE), e.reported.name


def test_the_page_of_the_experiments_has_the_measured_figures_of_the_readme() -> None:
    row = re.compile(r"^\| [\d.]+ \| [\d.]+ \| .* ± .*$", flags=re.MULTILINE)
    of_readme = row.findall(README.read_text(encoding="utf-8"))
    assert of_readme == row.findall(FOUR_EXPERIMENTS.read_text(encoding="utf-8"))
    assert len(of_readme) == len(EXPERIMENTS)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: str(page.stem))
def test_every_file_that_a_document_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [to for to in links if "://" not in to and not (page.parent / to).exists()]
    assert not missing


@pytest.mark.parametrize("theirs", [LogisticRegression, LogisticRegressionCV, SGDClassifier])
def test_the_table_maps_every_argument_of_scikit_learns_classifier(theirs: type) -> None:
    page = (DOCS / "guide" / "from-scikit-learn.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {theirs.__name__}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", section, flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)(?:=[^`]*)?`", " ".join(left for left, _ in rows)))
    assert set(inspect.signature(theirs).parameters) <= named


def test_the_tables_name_every_argument_of_ours() -> None:
    page = (DOCS / "guide" / "from-scikit-learn.md").read_text(encoding="utf-8")
    for ours in (SoftmaxClassifier, SoftmaxClassifierCV):
        for name in inspect.signature(ours).parameters:
            assert re.search(rf"`{name}[`=]", page), f"{ours.__name__}.{name}"


def test_the_api_pages_have_every_public_name_once() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in API)
    shown = re.findall(r"^::: .*?(\w+)$", text, flags=re.M)
    public = set(onelayer.__all__) - {"__version__"}
    assert public <= set(shown)
    assert len(shown) == len(set(shown))
    # The others are what public names return: documented, but not to be imported from onelayer.
    assert not any(hasattr(onelayer, name) for name in set(shown) - public)


def test_the_index_of_the_api_has_every_public_name() -> None:
    text = (DOCS / "reference" / "api" / "index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    assert set(onelayer.__all__) - {"__version__"} <= named


FORMULAS = re.compile(
    r"^```math\n(.*?)^```|(?<![\\$`])\$(?!\s)([^$`]+?)(?<!\s)\$", flags=re.S | re.M
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_formulas_are_whole(page: Path) -> None:
    """A dollar without its pair, or an open brace, would show LaTeX to the reader."""
    text = re.sub(r"^```(?!math).*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    text = re.sub(
        r"`[^`\n]+`|^ {4,}.*$", "", text, flags=re.M
    )  # nor code, nor options of mkdocstrings
    for block, inline in FORMULAS.findall(text):
        formula = block or inline
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left") - formula.count(r"\leftarrow") == formula.count(r"\right")
    assert "$" not in FORMULAS.sub("", text)
