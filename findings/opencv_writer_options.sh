#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: the environment variable OPENCV_FFMPEG_WRITER_OPTIONS, which OpenCV's reference lists beside
# OPENCV_FFMPEG_CAPTURE_OPTIONS and whose name stands in the library, changes nothing of what cv2.VideoWriter writes by a
# software encoder. Bit rate, distance of key frames, a quality that would halve a file, "faststart", a word that is no option:
# the MPEG-4 and Motion JPEG files are the same to the last byte, without a word in the log. So encoders keep FFmpeg's defaults,
# of which VP8's is slow (several times what a small network takes for a frame); who needs another takes another library.
#
# Exit status 0: as described. Needs Linux, python3 and pip; writes only below a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q opencv-python-headless==5.0.0.93
cd "$work"
cat >write.py <<'PYTHON'
import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np

name, codec = sys.argv[1:]
colors = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
frame = cv2.resize(colors, (320, 192), interpolation=cv2.INTER_CUBIC)
writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*codec), 25, (320, 192))
assert writer.isOpened()
for k in range(30):
    writer.write(np.roll(frame, 3 * k, axis=1))
writer.release()
print(hashlib.sha256(Path(name).read_bytes()).hexdigest())
PYTHON

"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import cv2

library = next(Path(cv2.__file__).parent.glob("cv2*.so"))
assert b"OPENCV_FFMPEG_WRITER_OPTIONS" in library.read_bytes()
print("opencv", cv2.__version__, "knows the variable's name")
PYTHON

for kind in "a.mp4 mp4v" "a.avi MJPG"; do
    read -r file codec <<<"$kind"
    plain=$("$work/venv/bin/python" write.py "$file" "$codec")
    for options in "b;20000" "g;1" "q;31" "qmin;31|qmax;31" "movflags;faststart" "threads;1" "no option at all"; do
        set_to=$(OPENCV_FFMPEG_WRITER_OPTIONS="$options" "$work/venv/bin/python" write.py "$file" "$codec" 2>&1)
        if [ "$plain" != "$set_to" ]; then
            echo "$codec: '$options' makes another file, or says something: $set_to" >&2
            exit 1
        fi
    done
    echo "$codec: seven values of OPENCV_FFMPEG_WRITER_OPTIONS, the same bytes: ${plain:0:16}"
done
