"""Makes a data set of sample scenes, once: a finished root is left alone, a half-written one is made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mtl_d2.data.sample_scenes.contact_sheet import contact_sheet
from mtl_d2.data.sample_scenes.files import write_image, write_json
from mtl_d2.data.sample_scenes.jobs import run_jobs
from mtl_d2.data.sample_scenes.layouts import LAYOUTS
from mtl_d2.data.sample_scenes.presets import GENERATOR_VERSION, PRESETS
from mtl_d2.data.sample_scenes.scene import SPLITS, make_scene

MANIFEST, SHEET = "sample_scenes.json", "contact_sheet.png"
SHEET_ROWS = 8
SMALLEST_SIZE, LARGEST_SIZE = (64, 48), (4096, 4096)  # pixels, (width, height)


@dataclass(frozen=True)
class Request:
    """Which scenes to make; two equal requests give the same bytes.

    Attributes:
        train: number of training images, >= 0.
        val: number of validation images, >= 0; not both are 0.
        size: width and height in pixels, within ``SMALLEST_SIZE`` and ``LARGEST_SIZE``.
        seed: >= 0.
        preset: a name in ``PRESETS``.
        layouts: names in ``LAYOUTS``, at least one.
    """

    train: int
    val: int
    size: tuple[int, int]
    seed: int = 0
    preset: str = "easy"
    layouts: tuple[str, ...] = tuple(LAYOUTS)

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: a value breaks its rule.
        """
        for name in ("train", "val", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, but is {getattr(self, name)}")
        if self.train + self.val == 0:
            raise ValueError("train and val are both 0: ask for at least one image")
        if not all(a <= b <= c for a, b, c in zip(SMALLEST_SIZE, self.size, LARGEST_SIZE, strict=True)):
            small, large = ("x".join(map(str, s)) for s in (SMALLEST_SIZE, LARGEST_SIZE))
            raise ValueError(f"size must be from {small} to {large}, but is {self.size[0]}x{self.size[1]}")
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, but is {self.preset!r}")
        unknown = [name for name in self.layouts if name not in LAYOUTS]
        if unknown or not self.layouts:
            raise ValueError(
                f"layouts must be of {','.join(LAYOUTS)}, but has {', '.join(map(repr, unknown)) or 'none'}"
            )

    def manifest(self) -> dict[str, Any]:
        """What is written down about the data set."""
        ordered = [name for name in LAYOUTS if name in self.layouts]
        return {"version": GENERATOR_VERSION, **asdict(self), "size": list(self.size), "layouts": ordered}


def is_finished(root: Path, request: Request) -> bool:
    """Whether ``root`` holds exactly these scenes already.

    Raises:
        ValueError: it holds other scenes, or data that is not this generator's.
    """
    manifest = read_manifest(root)
    if manifest is None:
        foreign = [LAYOUTS[name].folder for name in request.layouts if (root / LAYOUTS[name].folder).exists()]
        if foreign:
            raise ValueError(f"root {root} has a folder {foreign[0]!r} that is not of sample scenes: give another root")
        return False
    if not manifest["finished"]:
        return False
    wanted = request.manifest()
    differing = [
        f"{key} {manifest.get(key)} (asked for: {value})" for key, value in wanted.items() if manifest.get(key) != value
    ]
    if differing:
        raise ValueError(
            f"root {root} holds other sample scenes: {'; '.join(differing)}. Give another root, or remove this one "
            "first"
        )
    return True


def read_manifest(root: Path) -> dict[str, Any] | None:
    """What ``root`` says it holds, None where there are no sample scenes.

    Raises:
        ValueError: the file is damaged.
    """
    path = root / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["finished"], manifest["layouts"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): remove the folder and make the scenes again") from error
    return manifest


def generate(root: Path, request: Request, jobs: int = 1, progress: Callable[[int], None] = lambda done: None) -> None:
    """Makes the scenes, over whatever an interrupted run left.

    Args:
        root: is made where it is missing.
        request: which scenes.
        jobs: number of processes, >= 1.
        progress: is called with the number of finished images after each.

    Raises:
        ValueError: ``jobs`` is below 1, or see ``is_finished``.
        OSError: the root cannot be written.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, but is {jobs}")
    if is_finished(root, request):
        return
    _clear(root)
    write_json(root / MANIFEST, {**request.manifest(), "finished": False})
    work = [(split, index) for split in SPLITS for index in range(getattr(request, split))]
    parts: dict[tuple[str, int], dict[str, Any]] = {}
    for item, part in run_jobs(partial(_make, root, request), work, jobs):
        parts[item] = part
        progress(len(parts))
    for split in SPLITS:
        for name in request.layouts:
            entries = [parts[item][name] for item in work if item[0] == split]
            LAYOUTS[name].finish(root / LAYOUTS[name].folder, split, entries)
    _write_sheet(root, request)
    write_json(root / MANIFEST, {**request.manifest(), "finished": True})


def _make(root: Path, request: Request, item: tuple[str, int]) -> dict[str, Any]:
    split, index = item
    scene = make_scene(PRESETS[request.preset], request.size, request.seed, split, index)
    total = getattr(request, split)
    folders = {name: root / LAYOUTS[name].folder for name in request.layouts}
    return {name: LAYOUTS[name].write(folder, split, index, total, scene) for name, folder in folders.items()}


def _clear(root: Path) -> None:
    manifest = read_manifest(root)
    if manifest is not None:
        for name in manifest["layouts"]:
            shutil.rmtree(root / LAYOUTS[name].folder, ignore_errors=True)


def _write_sheet(root: Path, request: Request) -> None:
    split = "train" if request.train else "val"
    count = min(SHEET_ROWS, getattr(request, split))
    preset = PRESETS[request.preset]
    scenes = [make_scene(preset, request.size, request.seed, split, index) for index in range(count)]
    write_image(root / SHEET, contact_sheet(scenes))
