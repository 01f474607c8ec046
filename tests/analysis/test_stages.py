"""Stages by module paths."""

import pytest

from mtl_d2.analysis.stages import stages_of


def names(layers):
    return [stage.name for stage in stages_of(layers)]


def resnet_fpn(blocks=(2, 2, 2, 2)):
    trunk = ["backbone.bottom_up.stem.conv1", "backbone.bottom_up.stem.conv1.norm"]
    for stage, count in enumerate(blocks, 2):
        for block in range(count):
            trunk += [f"backbone.bottom_up.res{stage}.{block}.conv{k}" for k in (1, 2, 3)]
    return trunk + [f"backbone.fpn_{kind}{level}" for level in (5, 4, 3, 2) for kind in ("lateral", "output")]


@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3, 4, 6, 3), (1, 1, 4, 7)], ids=["18", "50", "regnet"])
def test_a_pyramid_on_a_resnet_has_the_stages_that_everybody_knows(blocks):
    assert names(resnet_fpn(blocks)) == ["stem", "res2", "res3", "res4", "res5", "fpn"]


def test_every_layer_is_in_one_stage():
    layers = resnet_fpn()
    places = [place for stage in stages_of(layers) for place in stage.layers]
    assert sorted(places) == list(range(len(layers)))


def test_a_plain_row_of_layers_is_cut():
    assert names([f"backbone.{k}" for k in (0, 3, 7)]) == ["backbone.0", "backbone.3", "backbone.7"]
    vgg = [f"trunk.features.{k}" for k in range(26)]
    assert names(vgg) == ["features.0-6", "features.7-12", "features.13-19", "features.20-25"]


def test_the_blocks_of_a_transformer_are_cut_whole():
    layers = ["net.embed", *(f"net.blocks.{k}.{part}" for k in range(12) for part in ("norm", "attn", "mlp"))]
    stages = stages_of(layers)
    blocks = [{layers[place].split(".")[2] for place in stage.layers if "blocks" in layers[place]} for stage in stages]
    assert all(not one & other for i, one in enumerate(blocks) for other in blocks[:i])
    assert 3 <= len(stages) <= 5


def test_layers_before_and_behind_the_blocks_are_two_stages():
    blocks = [f"net.blocks.{k}.{i}.conv" for k in range(3) for i in range(4)]
    found = stages_of(["net.conv_stem", "net.bn1", *blocks, "net.conv_head"])
    assert [len(stage.layers) for stage in found] == [2, 4, 4, 4, 1]


def test_one_layer_is_a_stage():
    assert names(["trunk"]) == ["trunk"]
