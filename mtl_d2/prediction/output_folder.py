"""The folder that predictions are written to: pictures or a video, maps, COCO's JSON, and a list of all frames."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mtl_d2.files import naming, write_atomically
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.frames import Frame
from mtl_d2.prediction.images import Image
from mtl_d2.prediction.layout import Artist
from mtl_d2.prediction.results import Objects, Prediction
from mtl_d2.prediction.saving import DEPTH_FACTOR, NPY, PNG, Place, coco_objects, save, whole_image
from mtl_d2.prediction.sources import MANIFEST
from mtl_d2.prediction.video_output import VideoFile
from mtl_d2.pseudo_labels.objects import ObjectForm

PICTURES, COCO = "pictures", "coco"
FORMATS = (PICTURES, COCO, PNG, NPY)
FOLDER = "pictures"
LEGEND = "legend.png"
JPEG_QUALITY = 90
SHARE = 0.02  # of the time that may be spent on lists that are written again and again
LEGEND_WIDTH = 640


@dataclass(frozen=True)
class Drawn:
    """A frame with what was made of it in a thread.

    Attributes:
        frame: the frame.
        prediction: of it; None where it could not be read.
        picture: (H, W, 3) RGB; None where none is asked for, or it is in its file already.
        objects: by task, as COCO has them.
        why: it could not be read.
    """

    frame: Frame
    prediction: Prediction | None = None
    picture: Image | None = None
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    why: str = ""


class OutputFolder:
    """Writes predictions.

    Attributes:
        folder: which one.
        artist: draws.
        formats: some of ``FORMATS``.
        about: what the list of all frames says besides.
        video: what pictures become, if they are frames of a video.
    """

    def __init__(
        self,
        folder: Path,
        artist: Artist,
        formats: Sequence[str],
        about: dict[str, Any],
        video: VideoFile | None = None,
        depth_factor: float = DEPTH_FACTOR,
    ) -> None:
        """Makes the folder, and marks it as one of predictions, which no later run takes for images.

        Raises:
            PredictionError: it cannot be made.
        """
        self.folder, self.artist, self.formats, self.about, self.video = folder, artist, tuple(formats), about, video
        self.depth_factor = depth_factor
        self._maps = frozenset({PNG, NPY}.intersection(formats))
        self._frames: list[dict[str, Any]] = []
        self._failed: list[dict[str, str]] = []
        self._objects: dict[str, list[dict[str, Any]]] = {}
        self._classes: dict[str, tuple[str, ...]] = {}
        self._written, self._took = time.monotonic(), 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_lists(finished=False)
        except OSError as error:
            raise PredictionError(f"--output {folder} cannot be written ({error}): name another folder") from error
        if PICTURES in self.formats and artist.all_classes():
            _write_picture(folder / LEGEND, artist.legend_of(artist.all_classes(), LEGEND_WIDTH))

    def make(self, frame: Frame, image: Image, prediction: Prediction) -> Drawn:
        """Draws a frame and writes its files; may be called by several threads at once."""
        answers = {task: answer for task, answer in prediction.answers().items() if task in self.artist.tasks}
        for task, answer in answers.items():
            colors = [self.artist.palette[name] for name in getattr(answer, "classes", ())]
            save(answer, Place(self.folder, task, frame.name, self._maps, self.depth_factor, colors))
        objects = {}
        if COCO in self.formats:
            objects = {task: coco_objects(answer) for task, answer in answers.items() if isinstance(answer, Objects)}
        picture = self.artist.draw(image, prediction) if PICTURES in self.formats else None
        if picture is not None and self.video is None:
            path = self.folder / FOLDER / f"{frame.name}.jpg"
            with naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            _write_picture(path, picture)
            picture = None
        return Drawn(frame, prediction, picture, objects)

    def add(self, drawn: Drawn) -> None:
        """Enters a frame, the one after that of the call before."""
        if drawn.prediction is None:
            self._failed.append({"file": drawn.frame.path, "why": drawn.why})
            return
        frame, prediction = drawn.frame, drawn.prediction
        if drawn.picture is not None and self.video is not None:
            self.video.write(drawn.picture, frame.seconds or 0.0)
        entry: dict[str, Any] = {"name": frame.name, "file": frame.path}
        entry |= {"height": prediction.height, "width": prediction.width}
        if frame.seconds is not None:
            entry["seconds"] = round(frame.seconds, 6)
        answers = prediction.answers()
        self._frames.append({**entry, **whole_image(answers)})
        for task, objects in drawn.objects.items():
            self._classes[task] = answers[task].classes
            image = {"file_name": frame.path if frame.seconds is None else frame.name, **entry}
            image.pop("file")
            self._objects.setdefault(task, []).append({**image, "objects": objects})
        if self._took < SHARE * (time.monotonic() - self._written):
            self._write_lists(finished=False)

    def close(self, finished: bool) -> None:
        """Ends video and lists, which hold all that was added."""
        if self.video is not None:
            self.video.close()
        self._write_lists(finished)

    def _write_lists(self, finished: bool) -> None:
        start = time.monotonic()
        for task, entries in self._objects.items():
            content = ObjectForm("annotations").content(entries, self._classes[task])
            write_atomically(self.folder / f"{task.replace('/', '_')}.json", json.dumps(content))
        content = {**self.about, "finished": finished, "frames": self._frames, "failed": self._failed}
        write_atomically(self.folder / MANIFEST, json.dumps(content, indent=1))
        self._written = time.monotonic()
        self._took = self._written - start


def _write_picture(path: Path, picture: Image) -> None:
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    written, content = cv2.imencode(path.suffix, pixels, options)
    assert written, path
    with naming(path):
        path.write_bytes(np.asarray(content).tobytes())
