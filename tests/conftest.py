"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the small real data sets: camvid/, coco_mini/ and fixtures/."""
    path = Path(os.environ.get("MTL_D2_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"{path} does not exist: set MTL_D2_TEST_DATA to the folder of the small real data sets")
    return path
