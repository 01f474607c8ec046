import cv2
import numpy as np
import pytest

from mtl_d2.prediction import video_output
from mtl_d2.prediction.errors import PredictionError
from mtl_d2.prediction.video_output import CODECS, VideoFile, can_write, check_codec


def read(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_of_an_odd_size_come_back_with_one_more_row_and_column(tmp_path, codec):
    if not can_write(codec):
        pytest.skip(f"this machine cannot write {codec}")
    path = tmp_path / f"clip{CODECS[codec].suffix}"
    video = VideoFile(path, codec, 12.5)
    for i in range(4):
        video.write(np.full((97, 161, 3), 60 * i, np.uint8), i / 12.5)
    video.close()
    frames, rate = read(path)
    assert rate == pytest.approx(12.5)
    assert [frame.shape for frame in frames] == [(98, 162, 3)] * 4
    np.testing.assert_allclose([frame.mean() for frame in frames], [0, 60, 120, 180], atol=8)


def test_a_frame_is_shown_until_the_time_of_the_next_and_none_is_left_out(tmp_path):
    path = tmp_path / "clip.avi"
    video = VideoFile(path, "mjpeg", 10.0)
    for level, seconds in ((0, 5.0), (100, 5.3), (150, 5.31), (250, 5.5)):
        video.write(np.full((32, 32, 3), level, np.uint8), seconds)
    video.close()
    frames, _ = read(path)
    np.testing.assert_allclose([frame.mean() for frame in frames], [0, 0, 0, 100, 150, 250], atol=8)


def test_a_codec_that_cannot_be_written_is_refused_with_those_that_can(monkeypatch):
    monkeypatch.setattr(video_output.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PredictionError, match=r"h264 needs the package 'av'.*can write vp8, mpeg4, mjpeg"):
        check_codec("h264")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    video = VideoFile(tmp_path / "nowhere" / "clip.avi", "mjpeg", 10.0)
    with pytest.raises(PredictionError, match=r"clip.avi cannot be written"):
        video.write(np.zeros((32, 32, 3), np.uint8), 0.0)
