"""Checkpoints that a kill cannot spoil, and that are read without executing anything in them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer

from mtl_d2.engine.pickles import read_pickle, read_torch
from mtl_d2.files import remove_partial, replacing, write_atomically

TAG = "last_checkpoint"  # the file that names the newest one, as in detectron2
_PLAIN = (str, bytes, int, float, bool, type(None), torch.Tensor)


class CheckpointError(ValueError):
    """A checkpoint that a training cannot go on from; the message says why and what to do."""


class DataOnlyReader(Checkpointer):
    """fvcore's checkpointer, but for how it reads a ``.pth``."""

    def _load_file(self, f: str) -> Any:
        return read_torch(f)


class MultiTaskCheckpointer(DetectionCheckpointer, DataOnlyReader):
    """detectron2's checkpointer; it writes atomically, reads data only, and passes over broken checkpoints."""

    _resuming = False  # the model must then be the same

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
        data = {"model": self.model.state_dict()}
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

    def has_checkpoint(self) -> bool:
        """Whether there is one to resume from."""
        return bool(self.get_checkpoint_file())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Goes on from the newest readable checkpoint, or loads weights alone from ``path``; see detectron2.

        Raises:
            CheckpointError: the checkpoint is of another model.
            ForbiddenContentError: the file holds more than data.
        """
        newest = self.get_checkpoint_file() if resume else ""
        if not newest:
            return self.load(path, checkpointables=[])
        self._resuming = True
        return self.load(newest)

    def _newest_readable(self) -> str:
        folder = Path(self.save_dir)
        tag = _tagged(folder)
        others = [path for path in sorted(folder.glob("*.pth")) if path != tag]
        faults: dict[Path, str] = {}
        newest = None
        for group in ([tag] if tag and tag.is_file() else [], others):  # a whole file is read to check it
            iterations: dict[Path, int] = {}
            for path in group:
                try:
                    iterations[path] = self._iteration(path)
                except ValueError as error:
                    faults[path] = str(error)
            if iterations:
                newest = max(iterations, key=iterations.__getitem__)
                break
        if newest is None and faults:
            raise CheckpointError(
                f"no checkpoint in {folder} can be read; start anew without --resume, or in another OUTPUT_DIR:\n"
                + "\n".join(f"  - {fault}" for fault in faults.values())
            )
        for path, fault in faults.items():
            self.logger.warning("Checkpoint %s is passed over, %s is taken instead: %s", path.name, newest, fault)
        return str(newest or "")

    def _iteration(self, path: Path) -> int:
        """The last update before a checkpoint was written; its tensors are checked by their sums, not loaded."""
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
            raise CheckpointError(
                f"{path} is no checkpoint of a training: it does not hold {', '.join(sorted(needed))}"
            )
        return int(content["iteration"])

    def _load_model(self, checkpoint: Any) -> Any:
        found = super()._load_model(checkpoint)
        shapes = [name for name, *_ in found.incorrect_shapes]
        differing = sorted({*found.missing_keys, *found.unexpected_keys, *shapes})
        if self._resuming and differing:
            raise CheckpointError(
                f"--resume goes on with the same model, but {len(differing)} tensors are missing, left over or of "
                f"another shape, {differing[0]} among them: restore the config, or begin anew without --resume"
            )
        return found

    def _load_file(self, filename: str) -> Any:
        if filename.endswith(".pkl"):
            return _model_zoo(read_pickle(filename), filename)
        if filename.endswith(".pyth"):
            state = read_torch(filename)["model_state"]
            weights = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
            return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
        return super()._load_file(filename)


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


def _model_zoo(data: Any, path: str) -> dict[str, Any]:
    """detectron2's or Caffe2's format, as detectron2's ``_load_file`` tells them apart."""
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a dict of weights, found {type(data).__name__}")
    if "model" in data and "__author__" in data:
        return data
    blobs = data.get("blobs", data)  # models for detection have blobs, those for ImageNet do not
    weights = {key: value for key, value in blobs.items() if not key.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


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
