"""Install detectron2 0.6 into the running Python, unless it has a detectron2 already.

    python tools/install_detectron2.py                   # fetch, build, install with its dependencies
    python tools/install_detectron2.py --sdist FILE      # the same from a local copy of the sdist
    python tools/install_detectron2.py --wheel-dir DIR   # only build the wheel; install nothing

No package index holds detectron2. ``pb1-detectron2`` 0.6 holds the Python files of the v0.6 release byte for byte, but
not the C++ sources, so it does not install as it is. This script makes a pure-Python wheel of those files, version
``0.6+pure``: the operators of ``detectron2._C`` (rotated boxes, deformable convolution, fast COCO evaluation) are
absent, everything else works with current torch, NumPy, Pillow and Python by the patches below. The same sdist gives
the same wheel, byte for byte. ``opencv-python-headless`` is installed too where no build of ``cv2`` is importable.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from detectron2_patches import PatchError, apply_patches

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "pb1-detectron2==0.6"
SDIST = "pb1-detectron2-0.6.tar.gz"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
# A local version label: pip takes 0.6+pure for detectron2==0.6 and detectron2>=0.6.
VERSION = "0.6+pure"
DIST_INFO = f"detectron2-{VERSION}.dist-info"
# Upstream's own list, plus packaging, which 0.6 imports without saying so.
REQUIRES = (
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.2",
    "omegaconf>=2.1",
    "hydra-core>=1.1",
    "packaging",
)
# Projects that detectron2 0.6 serves as detectron2.projects.*, where the release keeps them, where the wheel puts them.
PROJECTS = {
    f"projects/{folder}/": f"detectron2/projects/{folder.split('/')[1]}/"
    for folder in ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab")
}
# pip runs the sdist's setup.py to read its name and version, and that imports torch: this stand-in suffices.
TORCH_STUB = {
    "torch/__init__.py": (
        "__version__ = '2.0'\nclass version: hip = None\nclass cuda: is_available = staticmethod(lambda: False)\n"
    ),
    "torch/utils/__init__.py": "",
    "torch/utils/cpp_extension.py": (
        "CUDA_HOME = ROCM_HOME = None\n"
        "from setuptools import Extension as CppExtension\n"
        "from setuptools.command.build_ext import build_ext as BuildExtension\n"
        "CUDAExtension = CppExtension\n"
    ),
}


class InstallError(Exception):
    """What went wrong and how to mend it, in one message for a person."""


def verify(sdist: Path) -> None:
    """Check that ``sdist`` is the one file that the patches were written for.

    Raises:
        InstallError: it cannot be read, or is another file.
    """
    try:
        digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    except OSError as e:
        raise InstallError(f"--sdist {sdist}: {e.strerror}. Give the path of {SDIST}, or leave --sdist out.") from e
    if digest != SHA256:
        raise InstallError(
            f"{sdist}: its SHA-256 is {digest}, but {SDIST} has {SHA256}. The file is damaged or another one: fetch "
            "it again, or leave --sdist out."
        )


def run_pip(arguments: Sequence[str], mend: str, pythonpath: Sequence[Path] = (), quiet: bool = False) -> None:
    """Run the running Python's pip; its errors stand above ours, unless it is to be ``quiet``.

    Raises:
        InstallError: pip failed; the message ends with ``mend``.
    """
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    if pythonpath:
        env["PYTHONPATH"] = os.pathsep.join(map(str, pythonpath))
    command = [sys.executable, "-m", "pip", *arguments]
    output = subprocess.DEVNULL if quiet else None
    if subprocess.call(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output) != 0:
        raise InstallError(f"`pip {arguments[0]}` failed, see above. {mend}")


def download(folder: Path) -> Path:
    """Have pip fetch the sdist from the index that it is configured for, into ``folder``.

    pip refuses this sdist from version 26.3 on (one of its extras names an address), and needs setuptools beside it to
    read its version: both go into a throw-away folder, so that nothing of the running environment changes.

    Raises:
        InstallError: this Python has no pip, or pip failed.
    """
    if importlib.util.find_spec("pip") is None:
        raise InstallError(f"{sys.executable} has no pip. Install it: `{sys.executable} -m ensurepip`.")
    mend = (
        "Without network, fetch the file on another machine "
        f"(`{Path(__file__).name} --wheel-dir DIR` there, then `pip install` the wheel here)."
    )
    tools, stub = folder / "tools", folder / "stub"
    run_pip(["install", "-q", "--target", str(tools), "pip<26.3", "setuptools<81", "wheel"], mend)
    for name, text in TORCH_STUB.items():
        (stub / name).parent.mkdir(parents=True, exist_ok=True)
        (stub / name).write_text(text)
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", str(folder)]
    run_pip(["download", *options, PROJECT], mend, pythonpath=(tools, stub))
    return folder / SDIST


def read_sdist(sdist: Path) -> dict[str, bytes]:
    """The files that belong into the wheel, by their path there."""
    files = {}
    with tarfile.open(sdist) as tar:
        for member in tar:
            name = member.name.partition("/")[2]  # below pb1-detectron2-0.6/
            for folder, place in PROJECTS.items():
                name = name.replace(folder, place, 1) if name.startswith(folder) else name
            content = tar.extractfile(member)
            if content is not None and name.startswith("detectron2/"):
                files[name] = content.read()
            elif content is not None and name == "LICENSE":
                files[f"{DIST_INFO}/licenses/LICENSE"] = content.read()
    return files


def write_wheel(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write the wheel of ``files`` and its metadata into ``folder``; the same files give the same bytes."""
    metadata = [
        "Metadata-Version: 2.1",
        "Name: detectron2",
        f"Version: {VERSION}",
        "Summary: detectron2 0.6, pure-Python build (without detectron2._C), patched for current libraries",
        "License: Apache-2.0",
        "Requires-Python: >=3.7",
        *(f"Requires-Dist: {r}" for r in REQUIRES),
    ]
    wheel = ["Wheel-Version: 1.0", "Generator: mtl_d2", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    content = dict(sorted(files.items()))
    content[f"{DIST_INFO}/METADATA"] = "\n".join([*metadata, ""]).encode()
    content[f"{DIST_INFO}/WHEEL"] = "\n".join([*wheel, ""]).encode()
    record = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in content.items()]
    content[f"{DIST_INFO}/RECORD"] = "\n".join([*record, f"{DIST_INFO}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def build(sdist: Path | None, folder: Path) -> Path:
    """Build the wheel into ``folder``, from ``sdist`` or from one that is fetched for it."""
    with tempfile.TemporaryDirectory() as scratch:
        if sdist is None:
            print(f"fetching {SDIST}", flush=True)
            sdist = download(Path(scratch))
        verify(sdist)
        wheel = write_wheel(apply_patches(read_sdist(sdist)), folder)
    print(f"built {wheel.name}", flush=True)
    return wheel


def is_importable(package: str) -> bool:
    """Whether ``package`` is installed; a mere folder of that name on the path does not count."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def installed_location() -> str | None:
    """Where the running Python has its detectron2, None without one.

    Raises:
        InstallError: it has one that cannot be imported.
    """
    if not is_importable("detectron2"):
        return None
    try:
        return str(importlib.import_module("detectron2").__file__)
    except ImportError as e:
        raise InstallError(
            f"a detectron2 is installed, but does not import: {e}. Mend it, or remove it (`pip uninstall detectron2`) "
            "and run this again."
        ) from e


def installed_pins() -> dict[str, str]:
    """A constraint for each installed package, by its canonical name, that keeps its version."""
    found = ((d.metadata["Name"], d.version) for d in importlib.metadata.distributions())
    return {_canonical(name): f"{name}=={version}" for name, version in found if name and version}


def open_pins(constraints: str, installed: Collection[str]) -> list[str]:
    """The pins of ``constraints`` for packages that are not among the canonical names ``installed``."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if _canonical(line.split("==")[0]) not in installed]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def install_beside(requirements: Sequence[str], scratch: Path) -> None:
    """Install ``requirements``, and leave every installed package at its version.

    Left to itself, pip would change packages that others here stand on, such as NumPy below SciPy.

    Raises:
        InstallError: no versions fit those that are installed.
    """
    held = installed_pins()
    tested, pins = scratch / "tested.txt", scratch / "held.txt"
    pins.write_text("\n".join(held.values()))
    tested.write_text("\n".join([*held.values(), *open_pins((ROOT / "constraints.txt").read_text(), held)]))
    try:
        run_pip(["install", "-q", "-c", str(tested), *requirements], "", quiet=True)
    except InstallError:
        print("the tested versions of constraints.txt do not go with what is installed: pip chooses others", flush=True)
        mend = "No installed package is changed: mend or upgrade what pip names, and run this again."
        run_pip(["install", "-q", "-c", str(pins), *requirements], mend)


def install(sdist: Path | None) -> None:
    """Install what is missing: detectron2 with what it requires, and the headless OpenCV where no cv2 is importable."""
    location = installed_location()
    requirements = [] if is_importable("cv2") else ["opencv-python-headless"]
    with tempfile.TemporaryDirectory() as scratch:
        if location is None:
            requirements.append(str(build(sdist, Path(scratch))))
        else:
            print(f"detectron2 is installed already, and is used as it is: {location}")
        if requirements:
            print("installing with dependencies: " + ", ".join(Path(r).name for r in requirements), flush=True)
            install_beside(requirements, Path(scratch))


def main() -> None:
    """Parse the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sdist", type=Path, metavar="FILE", help=f"a local copy of {SDIST}; none is fetched")
    parser.add_argument("--wheel-dir", type=Path, metavar="DIR", help="only build the wheel, into DIR")
    args = parser.parse_args()
    try:
        if args.wheel_dir is not None:
            build(args.sdist, args.wheel_dir)
        else:
            install(args.sdist)
    except (InstallError, PatchError) as e:
        sys.exit(f"install_detectron2: {e}")


if __name__ == "__main__":
    main()
