"""Samples with labels from two sources, and a model's loss of them written out."""

from small import sample, small_model

from mtl_d2.tasks.sources import PSEUDO

LABELS = ("instances", "sem_seg", "depth", "normals")
WEIGHTS = (0.8, 0.2)


def taught_sample(true, taught, seed=0, size=(32, 64)):
    """A sample with ground truth for the tasks ``true`` and pseudo labels for ``taught``."""
    tasks = tuple(dict.fromkeys((*true, *taught)))
    first = sample(*true, size=size, boxes=(seed + 1) % 3, seed=seed)
    other = sample(*taught, size=size, boxes=2, seed=seed + 50)
    return {**first, **{PSEUDO + key: other[key] for key in LABELS if key in other}, "tasks": tasks, "position": seed}


def of_one_source(samples, prefix, task):
    """The samples that have a label of a task from a source, which stands in the place of the ground truth."""
    key = {"detection": "instances", "instance": "instances", "semantic": "sem_seg"}.get(task, task)
    chosen = [s for s in samples if prefix + key in s and task in s["tasks"]]
    if task == "instance":
        chosen = [s for s in chosen if s[prefix + key].has("gt_masks")]
    plain = [{k: v for k, v in s.items() if k not in LABELS and not k.startswith(PSEUDO)} for s in chosen]
    return [{**p, key: s[prefix + key], "tasks": (task,)} for p, s in zip(plain, chosen, strict=True)]


def two_source_cfg(cfg):
    cfg.MTL.PSEUDO_LABELS.FOLDERS, cfg.MTL.PSEUDO_LABELS.WEIGHTS = ["any"], WEIGHTS
    return cfg


def twins(cfg, prepare):
    """A model with two sources, and one with the ground truth alone whose parameters are the same."""
    one = prepare(small_model(cfg=cfg.clone()))
    two = prepare(small_model(cfg=two_source_cfg(cfg)))
    return two, one
