"""A training by records that are kept is the one by records that are read."""

import pytest
import torch
from running import train

from mtl_d2.data import check_data, prepared
from mtl_d2.data.prepared import find, place_of

pytestmark = pytest.mark.filterwarnings("ignore")


def test_updates_are_the_same_bits_with_and_without_the_cache(mclgs_cfg, tmp_path, monkeypatch):
    mclgs_cfg.DATASETS.TEST = ()
    mclgs_cfg.MTL.DATA.CACHE = ""
    check_data(mclgs_cfg)
    read = train(mclgs_cfg).model.state_dict()
    monkeypatch.setattr(prepared, "WORTH", 0)
    mclgs_cfg.defrost()
    for start in ("first", "later"):
        mclgs_cfg.OUTPUT_DIR = str(tmp_path / start)
        mclgs_cfg.MTL.DATA.CACHE = str(tmp_path / "kept")
        check_data(mclgs_cfg)
        assert find(place_of(mclgs_cfg)).sets
        kept = train(mclgs_cfg).model.state_dict()
        assert all(torch.equal(kept[name], value) for name, value in read.items())
