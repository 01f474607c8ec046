"""Depth: how far away what a pixel shows is. Disparity is the same kind with another unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mtl_d2.data.checks.dense_maps import DenseFindings, odd_depths
from mtl_d2.data.dense_geometry import DEPTH_SCALINGS
from mtl_d2.data.dense_maps import METRES, DenseReader, DepthMaps
from mtl_d2.data.errors import DataError
from mtl_d2.evaluation.depth import CROPS, METRICS, DepthScores
from mtl_d2.evaluation.tools import Tool
from mtl_d2.modeling.heads.dense import DepthHead
from mtl_d2.modeling.heads.dense_losses import ACTIVATIONS, DEPTH_LOSSES, POSITIVE
from mtl_d2.options import choice, declare, number
from mtl_d2.prediction.results import DepthMap
from mtl_d2.tasks.base import Record
from mtl_d2.tasks.dense import DenseTask, dense_tool, layer_options
from mtl_d2.tasks.options import option_key, task_options
from mtl_d2.tasks.registry import task_kind

if TYPE_CHECKING:
    from mtl_d2.report.canvas import Canvas

KEYS = DepthMaps()
OPTIONS = layer_options(
    DEPTH_LOSSES,
    '"l1" and "mse" are means over labelled pixels; "si_log" is the scale-invariant error of the logarithm (Eigen et '
    "al. 2014, eq. 4), a mean over images.",
) | {
    "ACTIVATION": choice(
        "linear", 'What makes depth of the last layer\'s output; positive for "si_log".', tuple(ACTIVATIONS)
    ),
    "SI_LAMBDA": number(
        0.5, 'lambda of "si_log": 0 is the squared error, 1 knows nothing of the scale.', least=0, most=1
    ),
    "SCALING": choice(
        "none",
        'What labels are multiplied by where augmentation magnifies the image s times: "divide" by s, as in MTAN\'s '
        'code, or "multiply" by it, for disparity. Predictions are scaled back.',
        tuple(DEPTH_SCALINGS),
    ),
    "RESAMPLING": choice("nearest", "Which pixels resized labels are made of.", ("nearest", "bilinear")),
}
declare("MODEL.DEPTH_HEAD", OPTIONS)
TOOL = dense_tool("the error of depth", "look at its file, and at `depth_encoding` and `depth_range` in its metadata")


@task_kind
class Depth(DenseTask):
    """Maps in a record's ``depth_file_name``; samples have ``depth`` (H, W) float32, 0 = no label.

    Metadata, or records, say how a file is read: ``depth_encoding`` (see ``mtl_d2.data.dense_files``) and
    ``depth_array``; metadata also ``depth_unit``, and for evaluation ``depth_range``, ``depth_crop`` and
    ``depth_average``.
    """

    name = "depth"
    record_key = KEYS.file
    sample_key = KEYS.sample
    group = "depth"
    file_keys = (KEYS.file,)
    reading_keys = (KEYS.encoding, KEYS.array)
    options = "MODEL.DEPTH_HEAD"
    module = "depth_head"
    metrics = METRICS
    kind_maps = KEYS

    def reader(self, cfg: Any) -> DenseReader:
        """Depth with its geometry, scaled as the options say."""
        options = task_options(cfg, self)
        return DenseReader(replace(self.maps, bilinear=options.RESAMPLING == "bilinear", scaling=options.SCALING))

    def check_config(self, cfg: Any) -> Iterator[str]:
        """A logarithm of what may be negative."""
        yield from super().check_config(cfg)
        options = task_options(cfg, self)
        if options.LOSS == "si_log" and options.ACTIVATION not in POSITIVE:
            yield (
                f"{option_key(cfg, self, 'LOSS')} 'si_log' takes the logarithm of depth, which "
                f"{option_key(cfg, self, 'ACTIVATION')} {options.ACTIVATION!r} may make negative: set that to "
                f"{' or '.join(map(repr, POSITIVE))}"
            )

    def odd_labels(self, findings: DenseFindings, metadata: Any) -> Iterator[str]:
        """See ``odd_depths``."""
        return odd_depths(findings, self.maps, metadata)

    def build_layers(self, cfg: Any, shapes: Mapping[str, Any]) -> DepthHead:
        """The head of ``MODEL.DEPTH_HEAD``."""
        return DepthHead(cfg, shapes)

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Errors over pixels or images."""
        return (TOOL,)

    def scores(self, metadata: Any) -> DepthScores:
        """Within the data set's range and crop.

        Raises:
            DataError: it is none, or there is no such crop.
        """
        limits = metadata.get(self.maps.range, (0.0, math.inf))
        numbers = isinstance(limits, list | tuple) and all(isinstance(one, int | float) for one in limits)
        if not (numbers and len(limits) == 2 and 0 <= limits[0] < limits[1]):
            raise DataError(
                f"{metadata.name}: `{self.maps.range}` in its metadata must be (nearest, farthest), 0 <= nearest < "
                f"farthest, found {limits!r}: correct it, or leave it out"
            )
        crop = metadata.get(self.maps.crop, "")
        if crop and crop not in CROPS:
            raise DataError(
                f"{metadata.name}: `{self.maps.crop}` in its metadata must be one of {', '.join(map(repr, CROPS))}, "
                f"found {crop!r}: correct it, or leave it out"
            )
        return DepthScores(float(limits[0]), float(limits[1]), crop)

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> DepthMap:
        """Depth in the unit of the labels."""
        return DepthMap(output.float().cpu().numpy(), str(metadata.get(self.maps.unit, METRES)))

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, self.maps.read(record, metadata).values, metadata)

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, prediction.float().cpu().numpy(), metadata)

    def draw_result(self, canvas: Canvas, result: DepthMap, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, result.values, metadata)

    def _draw(self, canvas: Canvas, depth: Any, metadata: Any) -> None:
        from mtl_d2.report.dense_pictures import depth_caption, depth_picture, depth_range  # brings Matplotlib

        span = canvas.spans.setdefault(self.task, depth_range(depth))
        unit = str(metadata.get(self.maps.unit, METRES))
        caption = depth_caption(depth, span, unit)
        canvas.keys[self.task] = {"span": span, "unit": unit}
        canvas.add_panel(f"{self.task}: {caption}", depth_picture(depth, span))
