"""TorchJD's update, which ``benchmark.py`` compares with the project's."""

from __future__ import annotations

import time
from typing import Any

from detectron2.engine import SimpleTrainer
from torchjd.aggregation import IMTLG
from torchjd.autojac import jac_to_grad, mtl_backward

from mtl_d2.balancing.exact.batch import total
from mtl_d2.parallel.reduction import Reduction
from mtl_d2.tasks.task import head_parameters, shared_parameters


class TorchJDTrainer(SimpleTrainer):
    """TorchJD's ``mtl_backward`` and an aggregator of its Gramian, in one trunk forward pass."""

    def __init__(self, *args: Any, sum_gramians: bool = False) -> None:
        """Args: SimpleTrainer's; take the Gramian layer by layer, without the Jacobian as one matrix: less memory."""
        super().__init__(*args)
        self.sum_gramians = sum_gramians

    def run_step(self) -> None:
        """One update; every image has to have all labels."""
        start = time.perf_counter()
        samples = [{**sample} for sample in next(self._data_loader_iter)]  # heads may keep things in them
        data_time = time.perf_counter() - start
        model = self.model
        # Copies, or what p6 pulls at p5 would count twice.
        features = {k: f.view_as(f) for k, f in model.shared_features(model.batch_images(samples)).items()}
        terms = [model.task_losses(task.name, features, samples, Reduction()) for task in model.tasks]
        self.optimizer.zero_grad()
        shared = shared_parameters(model, model.tasks)
        heads = [head_parameters(model, task) for task in model.tasks]
        losses = [total(own) for own in terms]
        mtl_backward(losses, features=list(features.values()), tasks_params=heads, shared_params=shared)
        jac_to_grad(shared, IMTLG(), optimize_gramian_computation=self.sum_gramians)
        self._write_metrics({name: value for own in terms for name, value in own.items()}, data_time)
        self.optimizer.step()
