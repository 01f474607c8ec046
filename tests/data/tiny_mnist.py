"""Small IDX files in the layout of MNIST and Fashion-MNIST, the same on every machine."""

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_tiny_mnist(root: Path, folders=("mnist", "fashion_mnist"), each=40, zipped=True) -> None:
    """``each`` images a part; image i of class i % 10 is a square whose grey says its class and number."""
    for k, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for part in ("train", "t10k"):
            labels = np.arange(each) % 10
            images = np.zeros((each, 28, 28), np.uint8)
            for i in range(each):
                side = 4 + 2 * int(labels[i])
                images[i, 4 : 4 + side, 4 : 4 + side] = 100 + (7 * i + 31 * k) % 150
            for name, array in (("images-idx3", images), ("labels-idx1", labels)):
                data = idx_bytes(array)
                path = root / folder / f"{part}-{name}-ubyte{'.gz' if zipped else ''}"
                path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
