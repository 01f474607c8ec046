"""Every config of the dense papers as a user runs it, with narrow layers on tiny copies of its data sets: two updates,
and its paper's metrics and Delta. That of VOC + NYU has a test of its own."""

import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

import train_net  # noqa: E402
from data.tiny_cityscapes import write_tiny_cityscapes  # noqa: E402
from data.tiny_dense import write_mtan, write_nyud_mt, write_official_nyu  # noqa: E402
from data.tiny_sun_rgbd import write_tiny_sun_rgbd  # noqa: E402

from mtl_d2.evaluation.delta import Metric, delta, direction  # noqa: E402

pytestmark = pytest.mark.usefixtures("forgotten")
SMALL_RESNET = "resnet26(layers=(1,1,1,1), channels=(8,8,16,16))"
NARROW = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.SEGNET.WIDTHS": (4, 4, 6, 6, 8),
    "MODEL.TIMM.NAME": SMALL_RESNET,
    "MODEL.ASPP.CHANNELS": 8,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 8,
    "MODEL.DEPTH_HEAD.CONVS_DIM": 8,
    "MODEL.NORMALS_HEAD.CONVS_DIM": 8,
    "INPUT.MIN_SIZE_TRAIN": (32,),
    "INPUT.MIN_SIZE_TEST": 32,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.STEPS": (),
    "DATALOADER.NUM_WORKERS": 0,
    "SEED": 1,
}
CLASSES, PIXELS = ("sem_seg", "mIoU"), ("sem_seg", "pACC")
DEPTH, RELATIVE, RMSE = ("depth", "abs_err"), ("depth", "rel_err"), ("depth", "rmse")
NORMALS = [("normals", name) for name in ("mean_angle", "median_angle", "within_11.25", "within_22.5", "within_30")]


def nyu_arrays(root):
    write_mtan(root / "nyuv2", {"train": 4, "val": 2}, classes=(4, 11))


def nyud_mt(root):
    write_nyud_mt(root, "survey", tuple(f"{i:04}" for i in range(20)))


def cityscapes_arrays(root):
    write_mtan(root / "cityscapes", {"train": 4, "val": 2}, (0, 2), ("image", "depth", "label_7"))


# By config: what writes its data, the metrics of its table, and the convention of its Delta.
MTAN = (nyu_arrays, [CLASSES, PIXELS, DEPTH, RELATIVE, *NORMALS], "mclgs")
STA = ([CLASSES, RMSE], "sta")
SETUPS = {
    "nyuv2_segnet_semantic": (nyu_arrays, [CLASSES, PIXELS], "mclgs"),
    "nyuv2_segnet_depth": (nyu_arrays, [DEPTH, RELATIVE], "mclgs"),
    "nyuv2_segnet_normals": (nyu_arrays, NORMALS, "mclgs"),
    "nyuv2_mtan_mclgs": MTAN,
    "nyuv2_mtan_mclgs_adam": MTAN,
    "nyuv2_single_gradient_step": (nyu_arrays, [CLASSES, PIXELS, DEPTH, RELATIVE, *NORMALS], "cagrad"),
    "cityscapes_7_single_gradient_step": (cityscapes_arrays, [CLASSES, PIXELS, DEPTH, RELATIVE], "cagrad"),
    "nyuv2_cosreg": (write_official_nyu, [CLASSES, RMSE, ("normals", "one_minus_cos")], "mclgs"),
    "sun_rgbd_cosreg": (write_tiny_sun_rgbd, [CLASSES, ("sem_seg_classes_37", "mIoU"), RMSE], "mclgs"),
    "nyuv2_13_sta": (nyu_arrays, *STA),
    "nyuv2_13_ista": (nyu_arrays, *STA),
    "nyuv2_40_sta": (nyud_mt, *STA),
    "nyuv2_40_ista": (nyud_mt, *STA),
    "cityscapes_dense_sta": (write_tiny_cityscapes, [CLASSES, DEPTH], "sta"),
    "cityscapes_dense_ista": (write_tiny_cityscapes, [CLASSES, DEPTH], "sta"),
    "nyud_mt_achievement": (nyud_mt, [CLASSES, ("depth", "delta_1.25"), ("normals", "within_11.25")], "acc"),
}
IN_CI = ("nyuv2_mtan_mclgs", "nyuv2_cosreg", "sun_rgbd_cosreg", "nyud_mt_achievement")


EACH = [pytest.param(name, marks=() if name in IN_CI else pytest.mark.slow) for name in SETUPS]


def test_each_config_of_a_dense_paper_has_a_setup():
    leaves = {path.stem for path in (ROOT / "configs").glob("[!B]*.yaml")}
    of_papers = {name for name in leaves if name.startswith(("nyu", "sun", "cityscapes_7", "cityscapes_dense"))}
    assert of_papers == SETUPS.keys()


@pytest.mark.parametrize("name", EACH)
def test_it_trains_and_has_its_papers_metrics_and_delta(name, tmp_path, monkeypatch):
    write, wanted, convention = SETUPS[name]
    write(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small = [str(word) for pair in NARROW.items() for word in pair]
    file = str(ROOT / "configs" / f"{name}.yaml")
    results = train_net.main(train_net.parse(["--config-file", file, *small, "OUTPUT_DIR", str(tmp_path / "run")]))
    values = {f"{group}/{metric}": number_of(results, group, metric) for group, metric in wanted}
    assert all(map(math.isfinite, values.values())), values
    metrics = [Metric(key, key.partition("/")[0], bool(direction(key))) for key in values]
    assert all(direction(key) is not None for key in values)
    worse = {key: value + 1 if direction(key) else 0.5 * value for key, value in values.items()}
    assert math.isfinite(delta(convention, values, worse, metrics))


def number_of(results, group, metric):
    """Of one test set, or the mean over several, whose groups are GROUP@NAME."""
    numbers = [group_metrics[metric] for key, group_metrics in results.items() if key.partition("@")[0] == group]
    return sum(numbers) / len(numbers)
