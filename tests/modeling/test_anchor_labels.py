"""ATSS: by hand, and against the paper's algorithm step by step."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances

from mtl_d2.modeling.heads.anchor_labels import atss, labelled


def grid(points, stride, sizes):
    """Anchors of one level: at the middles of ``points`` x ``points`` squares one of each of ``sizes`` (w, h)."""
    middles = (torch.arange(points) + 0.5) * stride
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    boxes = [torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1) for w, h in sizes]
    return Boxes(torch.stack(boxes, 2).flatten(0, 2))


def test_by_hand():
    """Nine squares of 8 pixels are the candidates.

    The first object is the first square: IoU 1 and eight zeros, mean 1/9, deviation 1/3. The second has 5 of 8 columns
    of the first two, 40 / 104 each, whose middles lie in it; the first square's IoU is higher with the first object.
    The third has 4 of 8 columns of two squares, whose middles lie on its sides, not in it.
    """
    objects = torch.tensor([[0.0, 0, 8, 8], [3, 0, 13, 8], [4, 16, 12, 24]])
    found = atss([grid(3, 8, [(8, 8)])], Boxes(objects), [9])
    assert found.tolist() == [0, 1, -1, -1, -1, -1, -1, -1, -1]


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def slow(levels, objects, candidates):
    """Algorithm 1 of the paper, one object after the other, in double precision."""
    found, quality = [-1] * sum(map(len, levels)), [0.0] * sum(map(len, levels))
    for g, box in enumerate(objects):
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        chosen, start = [], 0
        for level, number in zip(levels, candidates, strict=True):
            places = sorted(
                range(len(level)),
                key=lambda i: math.dist(middle, ((level[i][0] + level[i][2]) / 2, (level[i][1] + level[i][3]) / 2)),
            )
            chosen += [(start + i, level[i]) for i in places[:number]]
            start += len(level)
        ious = [iou(box, anchor) for _, anchor in chosen]
        mean = sum(ious) / len(ious)
        threshold = mean + math.sqrt(sum((x - mean) ** 2 for x in ious) / (len(ious) - 1))
        for (place, anchor), overlap in zip(chosen, ious, strict=True):
            x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
            inside = box[0] < x < box[2] and box[1] < y < box[3]
            if overlap >= threshold and inside and overlap > quality[place]:
                found[place], quality[place] = g, overlap
    return found


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_papers_algorithm(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(16, 16), (11.3, 22.6), (22.6, 11.3)][: 1 + seed % 3]
    levels = [grid(8, 8, sizes), grid(4, 16, [(2 * w, 2 * h) for w, h in sizes]), grid(2, 32, [(64, 64)] * len(sizes))]
    corner = 48 * torch.rand(5, 2, generator=generator)
    objects = torch.cat([corner, corner + 4 + 40 * torch.rand(5, 2, generator=generator)], 1)
    candidates = [9 * len(sizes)] * 3  # more than the last level has
    found = atss(levels, Boxes(objects), candidates)
    expected = slow([level.tensor.double().tolist() for level in levels], objects.double().tolist(), candidates)
    assert found.tolist() == expected
    assert len(set(expected)) > 2


def test_equal_distances_are_resolved_alike_whatever_the_padding():
    """The object's middle is a corner of four squares; of those at one distance the first count."""
    objects = Boxes(torch.tensor([[4.0, 4.0, 28.0, 28.0]]))
    found = []
    for points in (4, 9):
        anchors = grid(points, 8, [(24, 24)])
        found.append(anchors.tensor[atss([anchors], objects, [9]) == 0])
    assert torch.equal(*found)
    assert len(found[0]) > 0


@pytest.mark.parametrize("candidates", [1, 9])
def test_images_without_objects_and_objects_without_anchors(candidates):
    levels = [grid(3, 8, [(8, 8)])]
    assert (atss(levels, Boxes(torch.zeros(0, 4)), [candidates]) == -1).all()
    far = Boxes(torch.tensor([[-90.0, -90, -80, -80], [1e6, 1e6, 1e6 + 1, 1e6 + 1], [4, 4, 4, 4]]))
    assert (atss(levels, far, [candidates]) == -1).all()


def test_labels_and_boxes_are_those_of_the_objects():
    target = Instances((9, 9), gt_boxes=Boxes(torch.tensor([[0.0, 0, 1, 1], [2, 2, 5, 5]])))
    target.gt_classes = torch.tensor([7, 3])
    labels, boxes = labelled(torch.tensor([1, -1, 0]), target, 20)
    assert labels.tolist() == [3, 20, 7]
    assert boxes[[0, 2]].tolist() == [[2, 2, 5, 5], [0, 0, 1, 1]]
    labels, boxes = labelled(torch.tensor([-1, -1]), target[[False, False]], 20)
    assert labels.tolist() == [20, 20]
    assert boxes.shape == (2, 4)
