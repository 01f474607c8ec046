"""MATLAB's format 7.3 as MATLAB writes it: HDF5 behind 512 bytes of header, axes reversed, cells as references."""

from pathlib import Path

import h5py
import numpy as np


def save_73(path: Path, variables: dict) -> None:
    """Writes arrays, structs (dicts) and cells (lists) as MATLAB shows them."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, file, name, value)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def _write(file: h5py.File, parent: h5py.Group, name: str, value: object) -> None:
    if isinstance(value, dict):
        group = parent.create_group(name)
        for key, inside in value.items():
            _write(file, group, key, inside)
    elif isinstance(value, list):  # a row of cells, (1, N) in MATLAB
        cells = file.require_group("#refs#")
        references = np.empty((len(value), 1), h5py.ref_dtype)
        for i, inside in enumerate(value):
            _write(file, cells, f"{name}{i}", inside)
            references[i, 0] = cells[f"{name}{i}"].ref
        parent.create_dataset(name, data=references, dtype=h5py.ref_dtype)
    else:
        parent.create_dataset(name, data=np.asarray(value).T, chunks=True, compression="gzip")
