"""From folders to the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtl_d2.comparison.state import CONFIG
from mtl_d2.zoo.alone import alone
from mtl_d2.zoo.compared import compared, comparison_files
from mtl_d2.zoo.page import page
from mtl_d2.zoo.section import LeftOut
from mtl_d2.zoo.weights import runs_below


class ZooError(ValueError):
    """There is nothing to make a page of; the message is one line."""


def model_zoo(folders: Sequence[Path], root: Path, comparisons: Path) -> tuple[str, LeftOut]:
    """The page of the runs in ``folders``.

    Args:
        folders: of trainings or comparisons, or of several of them.
        root: of the checkout, which commands are relative to.
        comparisons: the folder of the comparisons' files.

    Returns:
        The page as Markdown, the same for the same folders in any order, and the runs that are not on it.

    Raises:
        ZooError: a folder is not there, or no run in them can be shown.
        ComparisonError, ConfigError: a comparison's file makes no sense any more.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ZooError(f"{folder} is no folder: name the OUTPUT_DIR of a training or the folder of a comparison")
    names = {run.resolve(): _name(run.resolve(), folder.resolve()) for folder in folders for run in runs_below(folder)}
    if not names:
        raise ZooError(f"there is no run in {', '.join(map(str, folders))}: no folder there has a config.yaml")
    left_out = LeftOut()
    of_comparisons = sorted({run.parent.parent for run in names if (run / CONFIG).is_file()})
    files = comparison_files(comparisons)
    sections = []
    for output in of_comparisons:
        inside = {run: name for run, name in names.items() if run.parent.parent == output}
        if output.name in files:
            sections.append(compared(files[output.name], output, root, inside, left_out))
        else:
            reason = f"no file in {comparisons.name} writes into a folder {output.name}"
            left_out.reasons |= dict.fromkeys(inside.values(), reason)
    single = {run: names[run] for run in sorted(names) if not (run / CONFIG).is_file()}
    sections += alone(root, single, left_out)
    shown = sorted((section for section in sections if section is not None), key=lambda s: (s.key, s.title))
    if not shown:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(left_out.reasons.items())[:3])
        raise ZooError(f"none of the {len(names)} runs can be shown: {reasons}")
    command = ["tools/model_zoo.py", *sorted({folder.resolve().name for folder in folders})]
    return page(shown, left_out, command), left_out


def _name(run: Path, folder: Path) -> str:
    """A run by its place in a folder that was given, without the folders above."""
    return str(Path(folder.name, run.relative_to(folder)))
