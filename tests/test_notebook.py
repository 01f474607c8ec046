"""The notebook reads well where it is not run, and runs."""

import ast
import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"
FILE = EXAMPLES / "first_hour.ipynb"
MOST_BYTES = 400_000
PLACES = re.compile(r"/(?:work|tmp|home|root|Users|mnt|var)/|site-packages")  # of a machine


@pytest.fixture(scope="module")
def cells():
    return json.loads(FILE.read_text(encoding="utf-8"))["cells"]


def outputs(cells):
    return [output for cell in cells for output in cell.get("outputs", ())]


def texts_of(output):
    """What an output says in words."""
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return ["".join(value) for value in (output.get("text", ""), *data.values())]


def test_its_code_is_python(cells):
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))


def test_it_was_run_from_top_to_bottom_without_an_error(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(cells) if output["output_type"] == "error"]


def test_its_outputs_are_small(cells):
    assert FILE.stat().st_size < MOST_BYTES
    kinds = {kind for output in outputs(cells) for kind in output.get("data", {}) if kind.startswith("image/")}
    assert kinds == {"image/jpeg"}


def test_it_says_nothing_of_the_machine_that_it_ran_on(cells):
    told = [text for output in outputs(cells) for text in texts_of(output)]
    told += ["".join(cell["source"]) for cell in cells]
    assert not [text for text in told if PLACES.search(text)]


def test_its_links_lead_to_files(cells):
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert links
    assert not [link for link in links if not (EXAMPLES / link).is_file()]


@pytest.mark.slow
def test_it_runs_and_what_it_trains_has_learnt():
    nbformat = pytest.importorskip("nbformat", reason='needs pip install -e ".[notebook]"')
    nbclient = pytest.importorskip("nbclient", reason='needs pip install -e ".[notebook]"')
    pytest.importorskip("ipykernel", reason='needs pip install -e ".[notebook]"')
    notebook = nbformat.read(FILE, as_version=4)
    before = sorted(path.name for path in EXAMPLES.iterdir())
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    nbformat.validate(notebook)
    told = "\n".join(text for output in outputs(notebook.cells) for text in texts_of(output))
    values = dict(re.findall(r"\| (\S+/\S+) \| (\S+) \|", told))
    assert float(values["bbox/AP50"]) > 50
    assert float(values["sem_seg/mIoU"]) > 70
    assert sorted(path.name for path in EXAMPLES.iterdir()) == before  # it writes into a folder of its own
