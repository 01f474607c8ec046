"""Maps of depth and normals as the mapper reads them, and what the check of the data says of bad ones."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from mtl_d2.data import DataError
from mtl_d2.data.checks.dense_maps import empty_maps, look_at_maps, odd_depths, odd_normals, unusable_maps
from mtl_d2.data.dense_maps import DenseReader, DepthMaps, NormalsMaps

SIZE = (12, 16)


def geometry(*transforms, before=SIZE):
    return SimpleNamespace(transforms=T.TransformList(list(transforms)), before=before, after=before)


def depth_records(folder, maps, **keys):
    records = []
    for i, depth in enumerate(maps):
        path = folder / f"{i}.{'npy' if np.asarray(depth).dtype.kind == 'f' else 'png'}"
        np.save(path, depth) if path.suffix == ".npy" else cv2.imwrite(str(path), depth)
        records.append({"height": SIZE[0], "width": SIZE[1], "depth_file_name": str(path), **keys})
    return records


def test_depth_of_a_record_follows_the_image(tmp_path):
    depth = np.arange(1, 193).reshape(SIZE).astype(np.uint16) * 100
    (record,) = depth_records(tmp_path, [depth], depth_encoding="millimetres")
    maps = DepthMaps(scaling="divide")
    sample = DenseReader(maps)(record, geometry(T.HFlipTransform(16), T.ResizeTransform(12, 16, 24, 32)))
    assert sample["depth"].dtype == torch.float32
    assert sample["depth"].shape == (24, 32)
    np.testing.assert_allclose(sample["depth"][::2, ::2], depth[:, ::-1] / 2000, rtol=1e-6)


def test_keys_of_a_named_task_end_with_its_name(tmp_path):
    (record,) = depth_records(tmp_path, [np.full(SIZE, 2.0)])
    named = {f"{key}/far": value for key, value in record.items() if key.startswith("depth")}
    maps = DepthMaps(scaling="divide").named("far")
    assert (maps.range, maps.scaling, maps.sample) == ("depth_range/far", "divide", "depth/far")
    assert set(DenseReader(maps)(named, geometry())) == {"depth/far"}
    assert NormalsMaps().named("").sample == "normals"


def test_normals_of_a_record_are_turned_with_the_image(tmp_path):
    normals = np.zeros((*SIZE, 3))
    normals[2:, :, :] = [0.6, 0, -0.8]
    np.save(tmp_path / "a.npy", normals)
    sample = DenseReader(NormalsMaps())({"normals_file_name": str(tmp_path / "a.npy")}, geometry(T.HFlipTransform(16)))
    assert sample["normals"].shape == (3, *SIZE)
    torch.testing.assert_close(sample["normals"][:, 5, 5], torch.tensor([-0.6, 0, -0.8]))
    assert (sample["normals"][:, :2] == 0).all()


def test_a_crop_without_a_label_is_not_labelled(tmp_path):
    depth = np.zeros(SIZE)
    depth[:6] = 3
    (record,) = depth_records(tmp_path, [depth])
    assert DenseReader(DepthMaps())(record, geometry(T.CropTransform(0, 7, 16, 5))) == {}
    assert DenseReader(DepthMaps())(record, geometry(T.CropTransform(0, 3, 16, 5))) != {}


def test_a_map_of_another_size_than_its_image_is_refused(tmp_path):
    (record,) = depth_records(tmp_path, [np.ones((6, 8))])
    with pytest.raises(DataError, match=r"0\.npy: size \(6, 8\) \(height, width\), but its image has \(12, 16\)"):
        DenseReader(DepthMaps())(record, geometry())
    (line,) = unusable_maps(look_at_maps([record], DepthMaps(), {}))
    assert "but its image has (12, 16): give the map of this image" in line


def test_sound_depth_has_nothing_said_of_it(tmp_path):
    records = [*depth_records(tmp_path, [np.full(SIZE, 3.0)] * 3), {"height": 12, "width": 16}]
    findings, keys = look_at_maps(records, DepthMaps(), {}), DepthMaps()
    assert [*unusable_maps(findings), *empty_maps(findings), *odd_depths(findings, keys, {})] == []


@pytest.mark.parametrize(("encoding", "median"), [("kitti", "11.72"), (1.0, "3000"), (1e-5, "0.03")])
def test_depth_in_another_unit_than_said_is_warned_of_with_its_median(tmp_path, encoding, median):
    records = depth_records(tmp_path, [np.full(SIZE, 3000, np.uint16)] * 2)
    metadata = {"depth_encoding": encoding}
    lines = list(odd_depths(look_at_maps(records, DepthMaps(), metadata), DepthMaps(), metadata))
    if encoding == "kitti":  # may well be
        assert lines == []
    else:
        assert lines[0].startswith(
            f"the median depth of its 2 maps is {median} m, outside 0.1 to 1000: is it stored as"
        )
        assert (
            list(
                odd_depths(
                    look_at_maps(records, DepthMaps(), metadata), DepthMaps(), {**metadata, "depth_unit": "pixels"}
                )
            )
            == []
        )


def test_an_encoding_that_is_not_said_is_asked_for(tmp_path):
    records = depth_records(tmp_path, [np.full(SIZE, 3000, np.uint16)] * 3)
    (line,) = unusable_maps(look_at_maps(records, DepthMaps(), {}))
    assert "holds uint16, which depth as 'metres' is never stored in: name its encoding" in line
    assert line.endswith("(the same of 3 of those looked at)")


def test_maps_without_any_label(tmp_path):
    findings = look_at_maps(depth_records(tmp_path, [np.zeros(SIZE), np.full(SIZE, np.nan)]), DepthMaps(), {})
    (line,) = unusable_maps(findings)
    assert line.startswith("its 2 maps hold no label at all, the first is")
    assert list(empty_maps(findings)) == []
    findings = look_at_maps(depth_records(tmp_path, [np.zeros(SIZE), np.ones(SIZE)]), DepthMaps(), {})
    assert list(unusable_maps(findings)) == []
    (line,) = empty_maps(findings)
    assert line.startswith("1 of its 2 maps hold no label at all")


def test_depth_that_cannot_be_is_warned_of(tmp_path):
    depth = np.full(SIZE, 3.0)
    depth[:6] = -1
    (line,) = odd_depths(look_at_maps(depth_records(tmp_path, [depth]), DepthMaps(), {}), DepthMaps(), {})
    assert line.startswith("50 % of the pixels of ")
    assert "are negative or not finite" in line


def test_normals_that_are_no_unit_vectors_are_warned_of(tmp_path):
    np.save(tmp_path / "a.npy", np.full((*SIZE, 3), -0.2))
    records = [{"normals_file_name": str(tmp_path / "a.npy")}]
    (line,) = odd_normals(look_at_maps(records, NormalsMaps(), {}))
    assert line.startswith("100 % of the pixels of ")
    assert "are no unit vectors" in line


def test_a_number_that_stands_for_the_sky_is_warned_of(tmp_path):
    depth = np.full(SIZE, 5.0, np.float32)
    depth[:2] = 1e10
    (line,) = odd_depths(look_at_maps(depth_records(tmp_path, [depth]), DepthMaps(), {}), DepthMaps(), {})
    assert "17 % of the labelled pixels of" in line
    assert "beyond 1000 m, up to 1e+10 (1 of its 1 maps have more than 5 %)" in line
    disparity = {"depth_unit": "pixels"}
    assert (
        list(odd_depths(look_at_maps(depth_records(tmp_path, [depth]), DepthMaps(), {}), DepthMaps(), disparity)) == []
    )


@pytest.mark.parametrize("axes", ["+x +y +z", "+x +y -z"])
def test_normals_of_surfaces_that_nobody_sees_are_warned_of(tmp_path, axes):
    np.save(tmp_path / "a.npy", np.tile([0.6, 0, 0.8], (*SIZE, 1)))
    records = [{"normals_file_name": str(tmp_path / "a.npy"), "normals_axes": axes}]
    lines = list(odd_normals(look_at_maps(records, NormalsMaps(), {})))
    assert [("100 % of the normals along" in line, "name the axes" in line) for line in lines] == (
        [(True, True)] if axes == "+x +y +z" else []
    )
