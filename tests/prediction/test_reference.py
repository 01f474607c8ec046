import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("write_reference", REPOSITORY / "tools" / "write_reference.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


def test_the_page_of_reference_is_what_the_docstrings_say():
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run tools/write_reference.py"
