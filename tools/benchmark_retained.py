"""The update of libraries that keep the whole graph, which ``benchmark.py`` compares with the project's."""

from __future__ import annotations

import time
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torchjd.aggregation import IMTLG

from mtl_d2.balancing.exact.batch import total
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import shared_parameters


class RetainedGraphTrainer(SimpleTrainer):
    """One graph of all losses, a ``backward(retain_graph=True)`` for each, and the gradients in one (T, P) matrix.

    So do LibMTL (``AbsWeighting._compute_grad``), CAGrad's code and Nash-MTL's. TorchJD's IMTL-G combines the rows.
    """

    def run_step(self) -> None:
        """One update; every image has to have all labels."""
        start = time.perf_counter()
        samples = [{**sample} for sample in next(self._data_loader_iter)]  # heads may keep things in them
        data_time = time.perf_counter() - start
        model: Any = self.model
        features = model.shared_features(model.batch_images(samples))
        terms = [model.task_losses(task.name, features, samples, Reduction()) for task in model.tasks]
        self.optimizer.zero_grad()
        shared = shared_parameters(model, model.tasks)
        rows = torch.zeros(len(terms), sum(p.numel() for p in shared), device=shared[0].device)
        for row, own in zip(rows, terms, strict=True):
            total(own).backward(retain_graph=own is not terms[-1])
            for place, p in zip(row.split([p.numel() for p in shared]), shared, strict=True):
                if p.grad is not None:
                    place.copy_(p.grad.flatten())
                    p.grad.zero_()
        direction = IMTLG()(rows)
        for part, p in zip(direction.split([p.numel() for p in shared]), shared, strict=True):
            p.grad = part.view_as(p).clone()
        self._write_metrics({name: value.detach() for own in terms for name, value in own.items()}, data_time)
        self.optimizer.step()
