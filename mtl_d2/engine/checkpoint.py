"""Checkpoints that a kill cannot spoil, and that are read without executing anything in them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer

from mtl_d2.data.checks.classes import class_difference
from mtl_d2.engine.fit import all_fit, enough_fits, some_fits
from mtl_d2.engine.identity import FILE as RUN_FILE
from mtl_d2.engine.identity import begin_run, run_of, write_run
from mtl_d2.engine.pickles import ForbiddenContentError, read_torch, zoo_weights
from mtl_d2.engine.trunk_weights import as_named_in
from mtl_d2.files import remove_partial, replacing, write_atomically

TAG = "last_checkpoint"  # the file that names the newest one, as in detectron2
_PLAIN = (str, bytes, int, float, bool, type(None), torch.Tensor)


class CheckpointError(ValueError):
    """A checkpoint that a training cannot go on from; the message says why and what to do."""


class WeightsAloneError(CheckpointError):
    """A file that holds a model and no training, such as ``model_best.pth``."""


class DataOnlyReader(Checkpointer):
    """fvcore's checkpointer, but for how it reads a ``.pth``."""

    def _load_file(self, f: str) -> Any:
        return read_torch(f)


@dataclass
class _Found:
    """The checkpoints in the folder of a run.

    Attributes:
        run: whose they are to be; None = anybody's.
        iterations: of those that can be gone on from.
        faults: what is wrong with others.
        foreign: those of other runs.
    """

    run: str | None
    iterations: dict[Path, int] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)
    foreign: list[Path] = field(default_factory=list)


class MultiTaskCheckpointer(DetectionCheckpointer, DataOnlyReader):
    """detectron2's checkpointer; it writes atomically, reads data only, and passes over broken checkpoints."""

    run = ""  # id of the run that writes; see mtl_d2.engine.identity
    classes: Mapping[str, list[str]] = MappingProxyType({})  # what the ids of the model stand for, as trained_classes
    _fits: Callable[[torch.nn.Module, Any], str] = staticmethod(some_fits)  # says what is wrong with a file's tensors

    def begin_run(self) -> None:
        """What is saved from now on is a new run's, and ``save_dir`` with it."""
        if self.save_dir and self.save_to_disk:
            self.run = begin_run(Path(self.save_dir))

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes ``<save_dir>/<name>.pth`` on the main process and names it in ``last_checkpoint``.

        Args:
            name: of the file, without its end.
            kwargs: what it is to hold besides the model and the checkpointables.

        Raises:
            TypeError: a state is of a type that could not be read back.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), "run": self.run, "classes": dict(self.classes)}
        data |= {key: one.state_dict() for key, one in self.checkpointables.items()}
        data |= kwargs
        _require_plain(data, "checkpoint")
        folder = Path(self.save_dir)
        remove_partial(folder, "*.pth")
        self.logger.info("Saving checkpoint to %s", folder / f"{name}.pth")
        with replacing(folder / f"{name}.pth") as file:
            torch.save(data, file)
        write_atomically(folder / TAG, f"{name}.pth")

    def get_checkpoint_file(self) -> str:
        """The checkpoint to resume from, the same on all processes; empty if there is none.

        It is the one that ``last_checkpoint`` names, or else that of the most updates; broken ones are passed over
        with a warning.

        Raises:
            CheckpointError: there are checkpoints, but none of them can be read; or this process does not see it.
        """
        found: tuple[str, str] = ("", "")
        if comm.is_main_process():
            try:
                found = (self._newest_readable(), "")
            except CheckpointError as error:
                found = ("", str(error))
        path, problem = comm.all_gather(found)[0]
        missing = [rank for rank, here in enumerate(comm.all_gather(not path or os.path.isfile(path))) if not here]
        if missing:
            problem = f"{path} is not there for processes {missing}: OUTPUT_DIR must be a folder that all machines see"
        if problem:
            raise CheckpointError(problem)
        return path

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Reads a file; see fvcore.

        Raises:
            CheckpointError: it is not there, cannot be read, or does not fit.
            ForbiddenContentError: it holds more than data.
        """
        try:
            if path.startswith(("http://", "https://", "detectron2://")):
                self._name_cached(path)
            return super().load(path, checkpointables)
        except (CheckpointError, ForbiddenContentError):
            raise
        except (OSError, AssertionError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error

    def _name_cached(self, address: str) -> None:
        """Says which file stands for an address: iopath keeps them by path, whatever the host, and for good."""
        file = Path(self.path_manager.get_local_path(address))
        self.logger.info(
            "%s is read from %s, fetched %s from an address with this path; delete the file to fetch it anew",
            address, file, datetime.fromtimestamp(file.stat().st_mtime).astimezone().isoformat(" ", "minutes"),
        )  # fmt: skip

    def has_checkpoint(self) -> bool:
        """Whether there is one to resume from."""
        return bool(self.get_checkpoint_file())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Goes on from the newest readable checkpoint, or loads weights alone from ``path``; see detectron2.

        Raises:
            CheckpointError: the checkpoint is of another model, or no tensor of the weights is of this one.
            ForbiddenContentError: the file holds more than data.
        """
        newest = self.get_checkpoint_file() if resume else ""
        if not newest:
            self._fits = some_fits
            return self.load(path, checkpointables=[])
        self._fits = all_fit
        rest = self.load(newest)
        self.run = rest.get("run", "")
        if self.run and self.save_to_disk and run_of(Path(self.save_dir)) is None:
            write_run(Path(self.save_dir), self.run)
        return rest

    def load_to_evaluate(self, path: str, resume: bool) -> None:
        """Loads the newest readable checkpoint, or the weights of ``path``, and nothing but a whole model.

        Raises:
            CheckpointError: there is neither, or the file does not hold every tensor that a prediction depends on, or
                its ids stand for other classes than ``classes`` says.
            ForbiddenContentError: the file holds more than data.
        """
        path = (self.get_checkpoint_file() if resume else "") or path
        if not path:
            raise CheckpointError(
                f"--eval-only has no weights to evaluate: there is no checkpoint of the last run in {self.save_dir} "
                "(--resume), and MODEL.WEIGHTS is empty"
            )
        self._fits = enough_fits
        trained = self.load(path, checkpointables=[]).get("classes", {})
        for listed, names in self.classes.items():
            difference = class_difference(trained.get(listed, []), names)
            if difference:
                raise CheckpointError(
                    f"{path} was trained with other `{listed}` than the data sets now have, {difference}: have their "
                    "reader list the same names in the same order each time (a `set` has another in each process)"
                )

    def _newest_readable(self) -> str:
        folder = Path(self.save_dir)
        tag = _tagged(folder)
        found = _Found(run_of(folder))
        if tag and tag.is_file():
            self._look_at(tag, found)
        if not found.iterations:  # a whole file is read to check it
            for path in sorted(folder.glob("*.pth")):
                if path != tag:
                    self._look_at(path, found, training=False)
        newest = max(found.iterations, key=found.iterations.__getitem__, default=None)
        if newest is None and found.faults:
            raise CheckpointError(
                f"no checkpoint in {folder} can be read; start anew without --resume, or in another OUTPUT_DIR:\n"
                + "\n".join(f"  - {fault}" for fault in found.faults.values())
            )
        for path, fault in found.faults.items():
            self.logger.warning("Checkpoint %s is passed over, %s is taken instead: %s", path.name, newest, fault)
        if newest is None and found.foreign:
            self.logger.warning(
                "%s: the checkpoints of an earlier run (%s) are left alone. The run that was begun after it ended "
                "before its first checkpoint, so there is nothing of it to go on from; delete %s to go on from the "
                "earlier one.", folder, ", ".join(path.name for path in found.foreign), folder / RUN_FILE,
            )  # fmt: skip
        return str(newest or "")

    def _look_at(self, path: Path, found: _Found, training: bool = True) -> None:
        """Sorts a file in; one that is no checkpoint of a training is a fault only if it should be one."""
        try:
            run, iteration = self._run_and_iteration(path)
        except WeightsAloneError as error:
            if training:
                found.faults[path] = str(error)
        except ValueError as error:
            found.faults[path] = str(error)
        else:
            if found.run in (None, run):
                found.iterations[path] = iteration
            else:
                found.foreign.append(path)

    def _run_and_iteration(self, path: Path) -> tuple[str, int]:
        """The run that wrote a checkpoint, and the last update before; its tensors are checked by sums, not loaded."""
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise CheckpointError(f"{path} is empty, cut or no checkpoint ({error})") from error
        if broken:
            raise CheckpointError(f"{path} was changed after it was written: the sum of {broken} is wrong")
        content = read_torch(str(path), mmap=True)
        needed = {"model", "iteration", *self.checkpointables}
        if not isinstance(content, Mapping) or not needed <= set(content):
            kind = WeightsAloneError if isinstance(content, Mapping) and "model" in content else CheckpointError
            raise kind(f"{path} is no checkpoint of a training: it does not hold {', '.join(sorted(needed))}")
        return str(content.get("run", "")), int(content["iteration"])

    def _load_model(self, checkpoint: Any) -> Any:
        if not checkpoint.get("matching_heuristics"):
            checkpoint["model"] = as_named_in(self.model, checkpoint["model"])
        found = super()._load_model(checkpoint)
        problem = self._fits(self.model, found)
        if problem:
            raise CheckpointError(problem)
        return found

    def _load_file(self, filename: str) -> Any:
        if filename.endswith(".pkl"):
            return zoo_weights(filename)
        if filename.endswith(".pyth"):
            state = read_torch(filename)["model_state"]
            weights = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
            return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
        content = super()._load_file(filename)
        if not isinstance(content.get("model"), Mapping):
            raise ValueError(f"its model must be a dict of weights, found {type(content.get('model')).__name__}")
        others = [key for key, value in content["model"].items() if not isinstance(value, torch.Tensor | np.ndarray)]
        if others:
            raise ValueError(
                f"its weights must stand under 'model', or alone; found {', '.join(map(repr, others[:3]))}, which is "
                "no tensor. Save them anew: torch.save({'model': weights}, path)"
            )
        return content


def stored_config(folder: str) -> str:
    """The config, as YAML, of the checkpoint in ``folder`` that a run would go on from; empty if there is none."""
    checkpointer = MultiTaskCheckpointer(torch.nn.Module(), folder, trainer=_Stored())
    path = checkpointer.get_checkpoint_file()
    return read_torch(path, mmap=True)["trainer"].get("config", "") if path else ""


class _Stored:
    """Stands for a trainer whose state is only looked for."""

    state_dict: Callable[[], dict] = dict


def _tagged(folder: Path) -> Path | None:
    try:
        return folder / (folder / TAG).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _require_plain(state: Any, path: str) -> None:
    """Refuses what ``read_torch`` could not read back, which would be noticed only when a run is to be resumed."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            _require_plain(value, f"{path}[{key!r}]")
    elif isinstance(state, list | tuple | set):
        for i, value in enumerate(state):
            _require_plain(value, f"{path}[{i}]")
    elif type(state) not in _PLAIN and not isinstance(state, torch.Tensor):
        raise TypeError(
            f"{path} is a {type(state).__module__}.{type(state).__qualname__}, but a checkpoint holds tensors, "
            "numbers, text, lists and dicts only, to be read without running code: keep the state as one of these"
        )
