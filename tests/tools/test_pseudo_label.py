"""The tool that labels images, in this process."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog

import mtl_d2.modeling  # noqa: F401
from mtl_d2.config import ConfigError, add_mtl_config, merge_config
from mtl_d2.data import DataError, register_all
from mtl_d2.data.catalog import register_anew
from mtl_d2.data.reading import read_records
from mtl_d2.engine import MultiTaskTrainer
from mtl_d2.engine.checkpoint import CheckpointError
from mtl_d2.locks import lock_folder
from mtl_d2.pseudo_labels import parts, run
from mtl_d2.pseudo_labels.folder import attach
from mtl_d2.pseudo_labels.labelling import read_samples
from mtl_d2.pseudo_labels.places import SHEET
from mtl_d2.pseudo_labels.thresholds import Thresholds
from mtl_d2.tasks.registry import kind_of

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "data")]

from tiny_bdd100k import DETECTION, write_tiny_bdd100k  # noqa: E402

TOOL = REPOSITORY / "tools" / "pseudo_label.py"
SPEC = importlib.util.spec_from_file_location("pseudo_label", TOOL)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

pytestmark = pytest.mark.filterwarnings("ignore")
CONFIG = str(REPOSITORY / "configs" / "sample_scenes_equal.yaml")
SMALL = ["MODEL.FPN.OUT_CHANNELS", "16", "MODEL.FCOS.NUM_CONVS", "1", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "16"]
SMALL += ["INPUT.MIN_SIZE_TEST", "48"]
SURE = ["--score", "0.02", "--confidence", "0.12"]  # of what a network says that has learnt nothing
TEACHERS = ("both", "detection", "semantic")
TASKS = {"both": "('detection', 'semantic')"}
DET, SEM = "bdd100k_det_train", "bdd100k_sem_seg_train"


def teacher_cfg(*words):
    cfg = get_cfg()
    add_mtl_config(cfg)
    register_all()
    merge_config(cfg, CONFIG, [*SMALL, *words])
    return cfg


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_tiny_bdd100k(root)
    return root


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Files of weights by task, and of both."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    for name in TEACHERS:
        tasks = TASKS.get(name, f"('{name}',)")
        model = MultiTaskTrainer.build_model(teacher_cfg("MTL.TASKS", tasks))
        torch.save({"model": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture
def command(scenes, teachers, tmp_path, monkeypatch):
    """Labels by a teacher of a task, with further words."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    monkeypatch.setattr(parts, "SIZE", 2)
    monkeypatch.setattr(run, "write_sheet", draw_nothing)
    register_all()

    def words(teacher="both", datasets=(DET,), output="labels", given=SURE, options=()):
        tasks = TASKS.get(teacher, f"('{teacher}',)")
        named = ["--config-file", CONFIG, "--weights", str(teachers / f"{teacher}.pth"), "--datasets", *datasets]
        return [*named, "--output", str(tmp_path / output), *given, "MTL.TASKS", tasks, *SMALL, *options]

    def label(*args, **kwargs):
        tool.main(tool.parse(words(*args, **kwargs)))
        return tmp_path / kwargs.get("output", "labels")

    label.words = words
    return label


def draw_nothing(folder, dataset, records):
    """It would draw every letter."""
    (folder / dataset / SHEET).touch()
    return folder / dataset / SHEET


def files(folder):
    """What it holds, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(command, *args, **kwargs):
    with pytest.raises((ConfigError, DataError, CheckpointError)) as raised:
        command(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_records_get_what_the_teacher_predicts(command, teachers, capsys):
    folder = command(datasets=(DET, SEM))
    records = read_records(SEM)
    labelled = attach(records, SEM, folder, ["detection", "semantic"])
    cfg = teacher_cfg()
    model = MultiTaskTrainer.build_model(cfg).eval()
    model.load_state_dict(torch.load(teachers / "both.pth")["model"])
    number = 0
    with torch.no_grad():
        for record, sample in zip(labelled, read_samples(cfg, records), strict=True):
            (output,) = model([sample])
            ids = kind_of("semantic").pseudo_labels().label(output["sem_seg"], Thresholds(confidence=0.12))
            assert (cv2.imread(record["pseudo/sem_seg_file_name"], cv2.IMREAD_UNCHANGED) == ids).all()
            objects = kind_of("detection").pseudo_labels().label(output["instances"], Thresholds(score=0.02))
            classes = [annotation["category_id"] for annotation in record["pseudo/annotations"]]
            assert classes == objects.pred_classes.tolist()
            number += len(classes)
    assert number > 0
    assert f"{SEM}, detection: 5 images, {number} objects" in capsys.readouterr().out


def test_what_was_stopped_goes_on_and_becomes_what_it_would_have_been(command, monkeypatch, capsys):
    whole = command(output="whole")
    written = []
    write_part = parts.Target.write_part

    def stop(self, part, entries):
        if len(written) == 3:  # after the first part of both tasks, and the second of one
            raise KeyboardInterrupt
        write_part(self, part, entries)
        written.append(self.part(part))

    monkeypatch.setattr(parts.Target, "write_part", stop)
    with pytest.raises(KeyboardInterrupt):
        command()
    labels, again = written[0].parents[2], []
    (labels / DET / "semantic" / ".det-train-2.png.part").write_bytes(b"half")
    with pytest.raises(DataError, match="are not finished"):
        attach(read_records(DET), DET, labels, ["detection"])

    def note(self, part, entries):
        write_part(self, part, entries)
        again.append(self.part(part))

    monkeypatch.setattr(parts.Target, "write_part", note)
    capsys.readouterr()
    command()
    assert not {path for path in written if path.stem == "00000000"} & set(again)
    assert f"{DET}: 6 of 6 images" in capsys.readouterr().out
    assert files(labels) == files(whole)
    command()
    assert capsys.readouterr().out == f"{DET}: labelled already\n"
    assert files(labels) == files(whole)


def test_labels_whose_json_was_deleted_are_made_again_and_so_is_the_sheet(command):
    folder = command()
    whole = files(folder)
    (folder / DET / "semantic.json").unlink()
    (folder / DET / "semantic" / "det-train-1.png").unlink()
    (folder / DET / SHEET).unlink()
    (folder / DET / "detection.parts").mkdir()  # what a kill behind the manifest leaves
    command()
    assert files(folder) == whole
    assert not (folder / DET / "detection.parts").exists()
    (folder / DET / SHEET).unlink()
    command()
    assert files(folder) == whole


def test_only_the_task_that_is_not_finished_is_labelled_again(command):
    folder = command()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tasks"]["semantic"]["datasets"][DET] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = (folder / DET / "detection.json").stat().st_mtime_ns
    command()
    assert (folder / DET / "detection.json").stat().st_mtime_ns == before


def test_teachers_of_two_tasks_and_of_two_data_sets_share_a_folder(command):
    folder = command("detection")
    command("semantic", datasets=(DET, SEM))
    tasks = json.loads((folder / "manifest.json").read_text())["tasks"]
    assert {task: list(labels["datasets"]) for task, labels in tasks.items()} == {
        "detection": [DET],
        "semantic": [DET, SEM],
    }
    assert tasks["detection"]["thresholds"] == {"score": 0.02, "nms": 0.2}
    assert tasks["semantic"]["thresholds"] == {"confidence": 0.12}
    assert len(attach(read_records(DET), DET, folder, ["detection", "semantic"])) == DETECTION


@pytest.mark.parametrize(
    ("teacher", "given", "options", "said"),
    [
        ("both", SURE, (), "has labels of task 'detection' by other weights, "),
        (
            "detection",
            ["--score", "0.5"],
            (),
            "with other thresholds, score 0.02 and nms 0.2, not score 0.5 and",
        ),
        ("detection", SURE, ("INPUT.MIN_SIZE_TEST", "64"), "by the same weights with other settings in MODEL, INPUT"),
    ],
    ids=["weights", "threshold", "settings"],
)
def test_labels_that_others_made_are_left_alone(command, teacher, given, options, said):
    folder = command("detection")
    before = files(folder)
    assert said in refusal(command, teacher, given=given, options=options)
    assert files(folder) == before


def test_folder_of_other_things_is_left_alone(command, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "thesis.tex").write_text("all of it")
    assert "holds other things than pseudo labels" in refusal(command)


def test_folder_that_is_being_written_is_left_alone(command):
    folder = command("detection")
    with lock_folder(folder):
        assert "another process labels into it" in refusal(command, "semantic")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--score", "1.5"], "--score must be a number from 0 to 1, got 1.5"),
        (["--nms", "-0.1"], "--nms must be a number from 0 to 1, got -0.1"),
        (["--confidence", "nan"], "--confidence must be a number from 0 to 1, got nan"),
        (["--weights", "nowhere.pth"], "--weights nowhere.pth is not there: correct the path"),
        (
            ["--datasets", "bdd100k_det_trian"],
            "bdd100k_det_trian: no data set of this name is registered",
        ),
        (["--weights", ""], "--weights is empty: name the file"),
        (["--output", str(TOOL)], f"--output {TOOL} is no folder"),
        (
            ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "256"],
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 256, but pseudo labels of task 'semantic' can tell at most 255 classes",
        ),
        (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu', which is no device of torch's"),
        (["MTL.TASKS", "('detection', 'depth')"], "MTL.TASKS has 'depth', of which there are no pseudo labels"),
    ],
)
def test_mistake_is_a_line_before_anything_is_loaded(command, monkeypatch, words, said):
    monkeypatch.setattr(tool, "run", None)
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises((ConfigError, DataError)) as raised:
        tool.main(tool.parse([*command.words(), *words]))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_weights_of_another_network_are_refused(command):
    said = refusal(command, options=["MODEL.SEM_SEG_HEAD.CONVS_DIM", "32"])
    assert said.startswith("--weights ")
    assert "tensors are missing in the file or of another shape" in said


def test_data_set_of_other_classes_than_the_teachers_is_refused(command):
    register_anew("own_streets", lambda: read_records(DET), thing_classes=["car", "bus"])
    assert "own_streets: its `thing_classes` are not those of the teacher" in refusal(
        command, datasets=("own_streets",)
    )


def test_classes_of_the_file_count_more_than_those_of_the_config(command, teachers, tmp_path):
    content = torch.load(teachers / "detection.pth")
    names = [f"thing {i}" for i in range(10)]
    torch.save({**content, "classes": {"thing_classes": names}}, tmp_path / "own.pth")
    words = ["--weights", str(tmp_path / "own.pth")]
    assert "class 0 is 'thing 0' in the one" in refusal(command, "detection", given=words)
    register_anew("own_streets", lambda: read_records(DET))
    MetadataCatalog.get("own_streets").set(thing_classes=names)
    folder = command("detection", datasets=("own_streets",), given=words)
    assert json.loads((folder / "manifest.json").read_text())["tasks"]["detection"]["classes"] == names


@pytest.mark.parametrize("stored", [{}, {"classes": {"thing_classes": ["car", "bus"]}}], ids=["config's", "file's"])
def test_data_sets_have_the_classes_of_the_teachers_list(command, tmp_path, stored):
    """Ids of a teacher with ``MTL.DATA.CLASSES`` are of that list, and not of the data set's own."""
    given = ["MTL.DATA.CLASSES.THING", "('car', 'bus')", "MODEL.FCOS.NUM_CLASSES", "2"]
    model = MultiTaskTrainer.build_model(teacher_cfg("MTL.TASKS", "('detection',)", *given))
    torch.save({"model": model.state_dict(), **stored}, tmp_path / "two.pth")
    words = [*SURE, "--weights", str(tmp_path / "two.pth")]
    folder = command("detection", given=words, options=given)
    assert json.loads((folder / "manifest.json").read_text())["tasks"]["detection"]["classes"] == ["car", "bus"]


def test_classes_may_be_named_by_a_reader_alone_and_by_nobody_else(command):
    """As detectron2's COCO reader does."""

    def read():
        MetadataCatalog.get("late_names").set(thing_classes=[f"thing {i}" for i in range(10)])
        return read_records(DET)

    for reader, named in ((lambda: read_records(DET), False), (read, True)):
        register_anew("late_names", reader)
        register_anew("unnamed", lambda: read_records(DET))
        words = ("detection", ["unnamed"])
        options = {"options": ["DATASETS.TRAIN", "('late_names',)"]}
        if named:
            manifest = json.loads((command(*words, **options) / "manifest.json").read_text())
            assert manifest["tasks"]["detection"]["classes"][0] == "thing 0"
        else:
            assert "nothing says what classes task 'detection' of" in refusal(command, *words, **options)


def test_more_classes_than_have_names_are_refused(command, tmp_path):
    given = ["MODEL.FCOS.NUM_CLASSES", "12"]
    model = MultiTaskTrainer.build_model(teacher_cfg("MTL.TASKS", "('detection',)", *given))
    torch.save({"model": model.state_dict()}, tmp_path / "twelve.pth")
    said = refusal(command, "detection", given=["--weights", str(tmp_path / "twelve.pth")], options=given)
    assert "MODEL.FCOS.NUM_CLASSES is 12, but the network's `thing_classes` are 10, pedestrian, rider" in said


def test_data_set_that_changed_while_it_was_labelled_is_refused(command, monkeypatch):
    register_anew("own_streets", lambda: read_records(DET))
    with monkeypatch.context() as broken:
        broken.setattr(parts.Target, "finish", None)
        with pytest.raises(TypeError):
            command("detection", datasets=("own_streets",))
    register_anew("own_streets", lambda: read_records(DET)[1:])
    assert "has labels of other images: the data set has changed" in refusal(command, "detection", ["own_streets"])


IN_PARTS_OF_TWO = """
import runpy, sys
from mtl_d2.pseudo_labels import parts
parts.SIZE = 2
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_two_processes_label_what_one_does(command, tmp_path):
    alone = files(command(output="alone"))
    (tmp_path / "start.py").write_text(IN_PARTS_OF_TWO)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [str(tmp_path / "start.py"), str(TOOL), *command.words(output="two")]
    ended = subprocess.run([*start, *words], capture_output=True, text=True, cwd=REPOSITORY)
    assert ended.returncode == 0, ended.stderr
    assert {name: data for name, data in files(tmp_path / "two").items() if "sheet" not in name} == {
        name: data for name, data in alone.items() if "sheet" not in name
    }
