"""Checkpoints: read without executing anything, written whole or not at all, passed over when broken."""

import logging
import os
import pickle
import threading
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torch import nn

from mtl_d2.engine.checkpoint import CheckpointError, MultiTaskCheckpointer
from mtl_d2.engine.pickles import ForbiddenContentError


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class State:
    """Of a training, as far as a checkpointer is concerned."""

    def __init__(self, content=None):
        self.content = content or {}

    def state_dict(self):
        return self.content

    def load_state_dict(self, content):
        self.content = content


def net(value=0.0):
    model = nn.Sequential(nn.Linear(2, 3))
    nn.init.constant_(model[0].weight, value)
    return model


def checkpointer(folder, value=0.0, **content):
    return MultiTaskCheckpointer(net(value), str(folder), trainer=State(content))


def save(folder, *updates):
    for update in updates:
        checkpointer(folder, value=float(update)).save(f"model_{update:07d}", iteration=update)


def resumed(folder):
    """The update that a run in ``folder`` would go on after."""
    one = checkpointer(folder)
    one.resume_or_load("", resume=True)
    return int(one.model[0].weight[0, 0])


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING)
    logger = logging.getLogger("fvcore")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "weights.pyth", "resumed"])
def test_code_in_a_file_of_weights_is_refused_and_not_executed(tmp_path, name):
    trap = tmp_path / "executed"
    content = {"model": {"0.weight": torch.ones(3, 2)}, "trainer": {}, "iteration": 1, "evil": Malicious(trap)}
    path = tmp_path / (name if "." in name else "model_0000001.pth")
    if name.endswith("pkl"):
        path.write_bytes(pickle.dumps(content | {"model": {"0.weight": np.ones((3, 2))}, "__author__": "me"}))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"asks for posix.mkdir") as refusal:
        checkpointer(tmp_path).resume_or_load(str(path), resume=name == "resumed")
    assert isinstance(refusal.value, CheckpointError if name == "resumed" else ForbiddenContentError)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "numpy.load", "os.system", "numpy.core.multiarray.fromfile"])
def test_refusal_names_the_forbidden_global(tmp_path, name):
    module, function = name.rsplit(".", 1)
    path = tmp_path / "weights.pkl"
    path.write_bytes(f"c{module}\n{function}\n.".encode())
    with pytest.raises(ForbiddenContentError, match=f"asks for {name}, which is no plain data"):
        checkpointer(tmp_path).load(str(path))


@pytest.mark.parametrize("protocol", range(6))
def test_weights_of_detectron2s_model_zoo_load(tmp_path, protocol):
    weights = OrderedDict({"0.weight": np.full((3, 2), 7, np.float32), "0.bias": np.zeros(3, np.float32)})
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "torchvision"}, protocol))
    one = checkpointer(tmp_path)
    one.load(str(path))
    assert (one.model[0].weight == 7).all()


def test_names_are_matched_where_a_file_asks_for_it(tmp_path):
    weights = {"weight": np.full((3, 2), 7, np.float32), "bias": np.zeros(3, np.float32)}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "torchvision", "matching_heuristics": True}))
    one = checkpointer(tmp_path)
    one.load(str(path))
    assert (one.model[0].weight == 7).all()


@pytest.mark.parametrize("blobs", [True, False])
def test_weights_of_caffe2_load_by_their_own_names(tmp_path, blobs):
    model = nn.ModuleDict({"stem": nn.ModuleDict({"conv1": nn.Conv2d(1, 2, 1, bias=False)})})
    weights = {"conv1_w": np.full((2, 1, 1, 1), 7, np.float32), "conv1_w_momentum": np.zeros((2, 1, 1, 1), np.float32)}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": weights, "cfg": "text"} if blobs else weights, 2))
    MultiTaskCheckpointer(model, "").load(str(path))
    assert (model["stem"]["conv1"].weight == 7).all()


def test_cut_pickle_is_told_as_such(tmp_path):
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": {"0.weight": np.ones((3, 2))}, "__author__": "me"})[:-20])
    with pytest.raises(ValueError, match=r"R-50\.pkl is no readable pickle of weights"):
        checkpointer(tmp_path).load(str(path))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def change_a_bit(path):
    content = bytearray(path.read_bytes())
    place = content.index(np.full(6, 3, np.float32).tobytes())
    content[place] ^= 1
    path.write_bytes(content)


BROKEN = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "a bit changed": change_a_bit,
    "text": lambda path: path.write_text("not a checkpoint"),
    "weights alone": lambda path: torch.save({"model": net(9.0).state_dict()}, path),
    "a list": lambda path: torch.save([1, 2], path),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_newest_checkpoint_is_passed_over_with_a_warning(tmp_path, warnings, kind):
    save(tmp_path, 1, 2, 3)
    BROKEN[kind](tmp_path / "model_0000003.pth")
    assert resumed(tmp_path) == 2
    assert "model_0000003.pth is passed over" in warnings.text
    assert "model_0000002.pth is taken instead" in warnings.text


def test_the_tagged_checkpoint_goes_first_and_without_a_tag_that_of_most_updates(tmp_path):
    save(tmp_path, 1, 3, 2)
    assert resumed(tmp_path) == 2
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert resumed(tmp_path) == 3
    (tmp_path / "last_checkpoint").unlink()
    assert resumed(tmp_path) == 3
    (tmp_path / "last_checkpoint").write_bytes(b"\xff\x00")
    assert resumed(tmp_path) == 3


def test_folder_without_checkpoints_begins_anew_and_one_of_broken_ones_is_refused(tmp_path):
    assert resumed(tmp_path) == 0
    save(tmp_path, 1)
    cut(tmp_path / "model_0000001.pth")
    with pytest.raises(CheckpointError, match=r"(?s)no checkpoint in .* can be read.*model_0000001\.pth"):
        resumed(tmp_path)


def test_write_that_fails_leaves_the_old_checkpoint_and_no_rest(tmp_path, monkeypatch):
    save(tmp_path, 1)
    before = (tmp_path / "model_0000001.pth").read_bytes()

    def fail(data, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        checkpointer(tmp_path, 5.0).save("model_0000001", iteration=1)
    assert (tmp_path / "model_0000001.pth").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model_0000001.pth"]


def test_rest_of_a_killed_write_is_removed_by_the_next(tmp_path):
    rest = tmp_path / ".model_0000001.pth.abc.part"
    rest.write_bytes(b"half")
    assert resumed(tmp_path) == 0
    save(tmp_path, 2)
    assert not rest.exists()


def test_state_that_could_not_be_read_back_is_refused_when_it_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"checkpoint\['trainer'\]\['best'\]\[1\] is a numpy\.float64"):
        checkpointer(tmp_path, best=[0.0, np.float64(1.0)]).save("model_0000001", iteration=1)


def write(path, model):
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def test_checkpoint_of_another_model_is_refused_for_resuming_only(tmp_path):
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    MultiTaskCheckpointer(other, str(tmp_path), trainer=State()).save("model_1", iteration=1)
    with pytest.raises(CheckpointError, match=r"same model, but 2 tensors .*, 1\.bias among them"):
        resumed(tmp_path)
    checkpointer(tmp_path).resume_or_load(str(tmp_path / "model_1.pth"), resume=False)


class Detector(nn.Module):
    """A trunk, a predictor, and a number that only the training looks at."""

    def __init__(self, classes=80, trunk=2):
        super().__init__()
        self.backbone, self.predictor = nn.Linear(2, trunk), nn.Linear(trunk, classes)
        self.register_buffer("normalizer", torch.zeros(()))


def test_new_predictor_is_trained_and_not_evaluated(tmp_path):
    path = write(tmp_path / "coco.pth", Detector(80))
    model = Detector(1)
    MultiTaskCheckpointer(model, "").resume_or_load(path, resume=False)
    message = r"2 of its 5 tensors .*predictor\.bias \(80,\) for \(1,\), predictor\.weight \(80, 2\) for \(1, 2\)"
    with pytest.raises(CheckpointError, match=message):
        MultiTaskCheckpointer(model, "").load_to_evaluate(path, resume=False)


def test_trunk_alone_is_trained_and_not_evaluated(tmp_path):
    path = tmp_path / "imagenet.pth"
    torch.save({"model": {f"backbone.{k}": v for k, v in Detector().backbone.state_dict().items()}}, path)
    MultiTaskCheckpointer(Detector(), "").resume_or_load(str(path), resume=False)
    with pytest.raises(CheckpointError, match=r"among them predictor\.bias, predictor\.weight"):
        MultiTaskCheckpointer(Detector(), "").load_to_evaluate(str(path), resume=False)


def test_weights_without_a_number_of_the_training_are_evaluated(tmp_path):
    path = tmp_path / "others.pth"
    torch.save({"model": {k: v for k, v in Detector().state_dict().items() if k != "normalizer"}}, path)
    MultiTaskCheckpointer(Detector(), "").load_to_evaluate(str(path), resume=False)


@pytest.mark.parametrize("other", [Detector(7, trunk=5), nn.Conv2d(1, 1, 1)])
def test_weights_of_which_nothing_fits_are_refused_for_training_too(tmp_path, other):
    path = write(tmp_path / "other.pth", other)
    with pytest.raises(CheckpointError, match=r"no tensor of MODEL\.WEIGHTS is one of the model's 5"):
        MultiTaskCheckpointer(Detector(), "").resume_or_load(path, resume=False)


def test_folder_without_a_checkpoint_of_its_run_is_not_evaluated(tmp_path):
    with pytest.raises(CheckpointError, match="no weights to evaluate"):
        MultiTaskCheckpointer(Detector(), str(tmp_path)).load_to_evaluate("", resume=True)


@pytest.mark.parametrize("content", [[1, 2], {"model": [1]}])
def test_file_of_something_else_is_told_by_its_name(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth cannot be loaded"):
        checkpointer(tmp_path).load(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("now", [["dog", "car"], ["car", "cat"]])
def test_weights_that_mean_other_classes_are_not_evaluated(tmp_path, now):
    trained = MultiTaskCheckpointer(Detector(), str(tmp_path))
    trained.classes = {"thing_classes": ["car", "dog"]}
    trained.save("model_final")
    file = str(tmp_path / "model_final.pth")
    evaluated = MultiTaskCheckpointer(Detector(), "")
    evaluated.classes = {"thing_classes": ["car", "dog"], "stuff_classes": ["road"]}
    evaluated.load_to_evaluate(file, resume=False)
    evaluated.classes = {"thing_classes": now}
    with pytest.raises(
        CheckpointError, match=r"model_final\.pth was trained with other `thing_classes`.* class [01] is"
    ):
        evaluated.load_to_evaluate(file, resume=False)


def test_weights_under_another_key_are_refused_with_the_way_to_save_them(tmp_path):
    torch.save({"state_dict": torch.nn.Linear(1, 1).state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="found 'state_dict', which is no tensor"):
        MultiTaskCheckpointer(torch.nn.Linear(1, 1), str(tmp_path)).load(str(tmp_path / "weights.pth"))


def test_file_that_stands_for_an_address_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(logging.getLogger("mtl_d2"), "propagate", True)
    folders = [tmp_path / name for name in ("one", "two")]
    for value, folder in enumerate(folders, 1):
        folder.mkdir()
        torch.save({"model": net(value).state_dict()}, folder / "weights.pth")
    with served(folders[0]) as first, served(folders[1]) as second:
        one = checkpointer(tmp_path)
        for address in (first, second):
            with caplog.at_level(logging.INFO):
                one.load(f"{address}/weights.pth", checkpointables=[])
            assert one.model[0].weight[0, 0] == 1  # iopath has one file for both
            cached = tmp_path / "cache" / "weights.pth"
            assert f"{address}/weights.pth is read from {cached}, fetched " in caplog.text
        cached.unlink()
        one.load(f"{second}/weights.pth", checkpointables=[])
        assert one.model[0].weight[0, 0] == 2


@contextmanager
def served(folder):
    """The address that a folder's files are at."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Says nothing of what it was asked for."""

    def log_message(self, *args):
        """Nothing."""
