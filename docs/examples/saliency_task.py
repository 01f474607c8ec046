"""Saliency as a task: how much each pixel draws the eye, in [0, 1]. All that there is to it is in this file.

A data set labels it with ``saliency_file_name`` in its records: an 8-bit grey image of its image's size, 255 = salient.

    MTL: {TASKS: ["detection", "saliency"], DATA: {MODULES: ["docs/examples/saliency_task.py"]}}
"""

from __future__ import annotations

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from detectron2.utils import comm
from torch.nn import functional as F

from mtl_d2.data import DataError
from mtl_d2.data.images import read_file
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.tools import Tool
from mtl_d2.evaluation.truth import size_of
from mtl_d2.modeling.heads.map_head import MapHead
from mtl_d2.modeling.norm import narrow_norm
from mtl_d2.options import Option, declare, number, whole
from mtl_d2.tasks.base import TaskKind
from mtl_d2.tasks.options import task_options
from mtl_d2.tasks.registry import task_kind

FILE = "saliency_file_name"
OPTIONS = {
    "IN_FEATURES": Option(["p2", "p3", "p4"], "Pyramid levels that the head looks at."),
    "CONVS_DIM": whole(64, "Channels of its convolutions."),
    "COMMON_STRIDE": whole(4, "Pixels of the image for each of the last layer's."),
    "NORM": Option("GN", "Normalization of its convolutions."),
    "LOSS_WEIGHT": number(1.0, "Factor of the loss.", least=0),
}
declare("MODEL.SALIENCY_HEAD", OPTIONS)


def read_saliency(record):
    """(H, W) float32 in [0, 1]."""
    pixels = read_file(record[FILE], None)
    if pixels.shape != size_of(record) or pixels.dtype != np.uint8:
        raise DataError(f"{record[FILE]}: must be an 8-bit grey image of size {size_of(record)}, found {pixels.shape}")
    return pixels.astype(np.float32) / 255


class SaliencyReader:
    """Label of the sample: (H, W) float32, with the geometry of its image."""

    def __call__(self, record, geometry):
        saliency = geometry.transforms.apply_segmentation(read_saliency(record))
        return {"saliency": torch.from_numpy(np.ascontiguousarray(saliency))}


class SaliencyHead(SemSegFPNHead):
    """The layers of detectron2's semantic head with one output, and binary cross entropy over the pixels of images."""

    loss_keys = ("loss_saliency",)

    def task_losses(self, features, targets, reduction, device):
        """A mean over the pixels of all processes; ``reduction.count`` is called whether there are samples or not."""
        pixels = torch.tensor(float(sum(one.numel() for one in targets)), dtype=torch.float64, device=device)
        pixels = reduction.count(pixels).clamp(min=1)
        if not targets:
            return {}
        logits = self.upsampled(features)[:, 0]  # (N, H, W) of the padded images
        parts = [
            F.binary_cross_entropy_with_logits(own[: one.shape[0], : one.shape[1]], one, reduction="sum")
            for own, one in zip(logits, targets, strict=True)
        ]
        return {"loss_saliency": torch.stack(parts).sum() / pixels.float() * self.loss_weight}

    def forward(self, features, targets=None):
        """The prediction (N, 1, H, W) in [0, 1], at the size of the padded images."""
        return self.upsampled(features).sigmoid(), {}

    def upsampled(self, features):
        """Logits of the last layer."""
        return F.interpolate(self.layers(features).float(), scale_factor=self.common_stride, mode="bilinear")


class SaliencyEvaluator(DatasetEvaluator):
    """Mean absolute error and the F measure at 0.5, over the pixels of all images; processes exchange four numbers."""

    def __init__(self, dataset):
        self.records = {record["file_name"]: record for record in read_records(dataset) if FILE in record}
        self.reset()

    def reset(self):
        """Forgets all images."""
        self.sums = np.zeros(4)  # of errors, of pixels, of salient pixels that were found, of salient + found ones

    def process(self, inputs, outputs):
        """Adds the images of a batch; one without a prediction shows nothing salient."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["file_name"] in self.records:
                truth = read_saliency(self.records[sample["file_name"]])
                predicted = output["saliency"].reshape(truth.shape).cpu().numpy() if "saliency" in output else 0 * truth
                salient, shown = truth > 0.5, predicted > 0.5
                self.sums += (
                    abs(predicted - truth).sum(),
                    truth.size,
                    (salient & shown).sum(),
                    (salient.sum() + shown.sum()),
                )

    def evaluate(self):
        """The metrics on the first process."""
        error, pixels, hits, marked = sum(comm.all_gather(self.sums))
        nothing = float("nan")
        f = 200 * hits / marked if marked else nothing
        return {"saliency": {"mae": error / pixels if pixels else nothing, "f_measure": f}}


TOOL = Tool("the error of saliency", lambda dataset, kinds, folder: SaliencyEvaluator(dataset), f"look at `{FILE}`")


class SaliencyTruth:
    """What a perfect model would say, and one that is wrong about everything: the evaluation is rehearsed with both."""

    key = "saliency"

    def right(self, record):
        return torch.from_numpy(read_saliency(record))[None]

    def wrong(self, record):
        """Everything but what is salient."""
        return 1 - self.right(record)

    def pixels(self, record):
        height, width = size_of(record)
        return height * width


@task_kind
class Saliency(TaskKind):
    """How much each pixel draws the eye."""

    name = "saliency"
    several = False
    record_key = FILE
    sample_key = "saliency"
    group = "saliency"
    file_keys = (FILE,)
    options = "MODEL.SALIENCY_HEAD"
    module = "saliency_head"
    metrics = {"mae": False, "f_measure": True}

    def reader(self, cfg):
        return SaliencyReader()

    def check_records(self, examination):
        """Reads the first map: a wrong size is said before the training, and not after an hour of it."""
        record = next(record for record in examination.cleaned if FILE in record)
        try:
            read_saliency(record)
        except DataError as error:
            examination.refuse([str(error)])

    def build_layers(self, cfg, shapes):
        options = task_options(cfg, self)
        return SaliencyHead(
            {name: shapes[name] for name in options.IN_FEATURES},
            num_classes=1,
            conv_dims=options.CONVS_DIM,
            common_stride=options.COMMON_STRIDE,
            norm=narrow_norm(options.NORM),
            loss_weight=options.LOSS_WEIGHT,
        )

    def build_head(self, layers):
        return MapHead(self, layers)

    def tools(self, evaluator_type):
        return (TOOL,)

    def truth(self, cfg, dataset):
        return SaliencyTruth()

    def draw_truth(self, canvas, record, metadata):
        self.draw(canvas, read_saliency(record))

    def draw_prediction(self, canvas, prediction, metadata):
        self.draw(canvas, prediction[0].cpu().numpy())

    def draw(self, canvas, saliency):
        canvas.add_panel("saliency", np.repeat((255 * saliency).astype(np.uint8)[..., None], 3, axis=2))
