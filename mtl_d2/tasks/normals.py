"""Surface normals: which way what a pixel shows faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mtl_d2.data.checks.dense_maps import DenseFindings, odd_normals
from mtl_d2.data.dense_maps import NormalsMaps
from mtl_d2.evaluation.normals import METRICS, NormalsScores
from mtl_d2.evaluation.tools import Tool
from mtl_d2.modeling.heads.dense import NormalsHead
from mtl_d2.modeling.heads.dense_losses import NORMALS_LOSSES
from mtl_d2.options import declare
from mtl_d2.prediction.results import NormalsMap
from mtl_d2.tasks.base import Record
from mtl_d2.tasks.dense import DenseTask, dense_tool, layer_options
from mtl_d2.tasks.registry import task_kind

if TYPE_CHECKING:
    from mtl_d2.report.canvas import Canvas

KEYS = NormalsMaps()
OPTIONS = layer_options(
    NORMALS_LOSSES,
    'Over labelled pixels, of predictions scaled to length 1: "cosine" is 1 - cosine, "l1" and "mse" are means over '
    "the three components.",
)
declare("MODEL.NORMALS_HEAD", OPTIONS)
TOOL = dense_tool("the angle of normals", "look at its file, and at `normals_axes` in its metadata")


@task_kind
class Normals(DenseTask):
    """Maps in a record's ``normals_file_name``; samples have ``normals`` (3, H, W) float32, all 0 = no label.

    Vectors are of the camera: x right, y down, z forward. Metadata, or records, say how a file is read:
    ``normals_axes``, where its axes are others, and ``normals_array``; ``normals_intrinsics``, where it is a file of
    depth, of which normals are computed, and ``normals_depth_encoding``; metadata for evaluation ``normals_average``.
    """

    name = "normals"
    record_key = KEYS.file
    sample_key = KEYS.sample
    group = "normals"
    file_keys = (KEYS.file,)
    reading_keys = (KEYS.array, KEYS.axes, KEYS.intrinsics, KEYS.encoding)
    options = "MODEL.NORMALS_HEAD"
    module = "normals_head"
    metrics = METRICS
    kind_maps = KEYS

    def odd_labels(self, findings: DenseFindings, metadata: Any) -> Iterator[str]:
        """See ``odd_normals``."""
        return odd_normals(findings)

    def build_layers(self, cfg: Any, shapes: Mapping[str, Any]) -> NormalsHead:
        """The head of ``MODEL.NORMALS_HEAD``."""
        return NormalsHead(cfg, shapes)

    def tools(self, evaluator_type: Any) -> tuple[Tool, ...]:
        """Angles over pixels or images."""
        return (TOOL,)

    def scores(self, metadata: Any) -> NormalsScores:
        """Of all labelled pixels."""
        return NormalsScores()

    def result(self, output: Any, metadata: Any, score_threshold: float = 0.0) -> NormalsMap:
        """Vectors of the camera's axes."""
        return NormalsMap(output.float().cpu().numpy().transpose(1, 2, 0))

    def draw_truth(self, canvas: Canvas, record: Record, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, self.maps.read(record, metadata).values)

    def draw_prediction(self, canvas: Canvas, prediction: Any, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, prediction.float().cpu().numpy().transpose(1, 2, 0))

    def draw_result(self, canvas: Canvas, result: NormalsMap, metadata: Any) -> None:
        """A panel of colours."""
        self._draw(canvas, result.vectors)

    def _draw(self, canvas: Canvas, normals: Any) -> None:
        from mtl_d2.report.dense_pictures import NORMALS_CAPTION, NORMALS_COLORS, normals_picture  # Matplotlib

        canvas.keys[self.task] = {"colors": NORMALS_COLORS}
        canvas.add_panel(f"{self.task}: {NORMALS_CAPTION}", normals_picture(normals))
