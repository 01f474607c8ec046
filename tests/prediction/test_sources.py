import numpy as np
import pytest
from small_inputs import write_clip

from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.sources import MANIFEST, open_source
from mtl_d2.prediction.video_input import Video


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_folder_gives_its_images_with_those_of_inner_folders(folder, image, out):
    frames = list(open_source([str(folder)], out))
    assert [frame.name for frame in frames] == ["a", "inner/b"]
    np.testing.assert_array_equal(frames[0].read(), image)


def test_files_and_patterns_of_one_name_get_names_of_their_own(folder, out):
    (folder / "other").mkdir()
    (folder / "other" / "a.png").write_bytes((folder / "a.png").read_bytes())
    source = open_source([str(folder / "a.png"), f"{folder}/*/*.png"], out)
    assert [frame.name for frame in source] == ["a", "b", "a_1"]


def test_predictions_of_an_earlier_run_are_no_input(folder, out):
    (folder / "inner" / MANIFEST).write_text("{}")
    assert [frame.name for frame in open_source([str(folder)], out)] == ["a"]
    with pytest.raises(PredictionError, match="holds predictions of an earlier run"):
        open_source([str(folder / "inner")], out)
    with pytest.raises(PredictionError, match="matches no image"):
        open_source([f"{folder}/inner/*.png"], out)


@pytest.mark.parametrize("inner", ["", "inner", "further/below"])
def test_an_output_inside_of_the_input_is_refused(folder, inner):
    with pytest.raises(PredictionError, match="is inside --input"):
        open_source([str(folder)], folder / inner)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{}/none.jpg", "is not there"),
        ("{}/none.mp4", "is not there"),
        ("{}/*.bmp", "matches no image"),
        ("97", "camera 97 is not there"),
        ("{}/empty", "has no images"),
        ("{}/text.mp4", "no frame of it can be read"),
        ("{}/clips", r"for its videos name one, such as .*clip\.avi"),
    ],
    ids=["image", "video", "pattern", "camera", "empty folder", "no video", "folder of videos"],
)
def test_what_is_no_input_is_said_in_a_line(tmp_path, image, out, word, said):
    for name in ("empty", "clips"):
        (tmp_path / name).mkdir()
    (tmp_path / "text.mp4").write_text("text")
    write_clip(tmp_path / "clips" / "clip.avi", image, 1)
    with pytest.raises(PredictionError, match=said) as raised:
        open_source([word.format(tmp_path)], out)
    assert "\n" not in str(raised.value)


def test_a_video_is_a_run_of_its_own(folder, clip, out):
    with pytest.raises(PredictionError, match="alone"):
        open_source([str(clip), str(folder)], out)


def test_frames_of_a_video_have_its_times(clip, image):
    video = Video(str(clip))
    frames = list(video)
    assert (video.total, video.rate) == (5, 12.5)
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(5) / 12.5, atol=1e-6)
    assert [frame.name for frame in frames][:2] == ["clip/000000", "clip/000001"]
    assert np.abs(frames[2].read().astype(int) - np.roll(image, 20, axis=1)[:, :96]).mean() < 12
    assert video.mistakes() == []


def test_what_a_cut_video_lacks_is_said(tmp_path, image):
    path = write_clip(tmp_path / "clip.avi", image, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(str(path))
    frames = list(video)
    assert 0 < len(frames) < 30
    if video.total == 30:  # as far as this build of OpenCV still finds the number
        assert f"{len(frames)} frames could be read" in video.mistakes()[0]


def test_linked_folders_are_looked_into_once(folder, tmp_path, out):
    links = tmp_path / "links"
    links.mkdir()
    (links / "all").symlink_to(folder)
    (folder / "inner" / "back").symlink_to(folder)
    assert [frame.name for frame in open_source([str(links)], out)] == ["all/a", "all/inner/b"]


def test_a_folder_may_be_called_like_a_video_or_an_image(folder, tmp_path, out):
    for name in ("day.mp4", "day.png"):
        (tmp_path / name).symlink_to(folder)
    assert [frame.name for frame in open_source([str(tmp_path / "day.mp4")], out)] == ["a", "inner/b"]
    (folder / "c.png").mkdir()
    assert [frame.name for frame in open_source([f"{folder}/*.png"], out)] == ["a"]


def test_a_video_may_have_brackets_in_its_name(clip, out):
    named = clip.rename(clip.with_name("clip[1].avi"))
    assert len(list(open_source([str(named)], out))) == 5


def test_an_empty_word_is_not_the_working_directory(folder, out, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(PredictionError, match="is empty"):
        open_source([""], out)
