"""What the tests of predictions predict on."""

import cv2
import numpy as np

THINGS = ["person", "rider", "car", "truck", "bus", "train", "Mofa", "bicycle"]  # one is not the data set's


def write_clip(path, image, count):
    """A video of the image moving to the right, 96 x 60, 12.5 frames a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (96, 60))
    for i in range(count):
        writer.write(np.ascontiguousarray(np.roll(image, 10 * i, axis=1)[:, :96, ::-1]))
    writer.release()
    return path
