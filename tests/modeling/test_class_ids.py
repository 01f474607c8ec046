"""Classes of pixels without the scores of all classes at full size: the ids are those of detectron2's scores."""

from functools import partial

import pytest
import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_d2.modeling.heads.class_ids import LARGE, class_ids, ids_of_map

enlarge = partial(F.interpolate, scale_factor=4, mode="bilinear", align_corners=False)
SAME, LARGER, SMALLER, TINY = (
    ((150, 230), (150, 230)),
    ((150, 230), (211, 323)),
    ((150, 230), (131, 141)),
    ((40, 60), (50, 75)),
)


def low(of_image, classes, seed=0):
    """Scores of a padded image at stride 4."""
    height, width = (-(-side // 32) * 8 for side in of_image)
    return torch.randn(classes, height, width, generator=torch.Generator().manual_seed(seed))


def by_detectron2(scores, of_image, size):
    return sem_seg_postprocess(enlarge(scores[None])[0], of_image, *size).max(dim=0).indices


@pytest.fixture(params=[1, 2], ids=["one_thread", "two_threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 7, 19])
@pytest.mark.parametrize(("of_image", "size"), [SAME, LARGER, SMALLER, TINY], ids=["same", "larger", "smaller", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_ids_are_those_of_resized_scores(threads, classes, of_image, size, dtype):
    scores = low(of_image, classes).to(dtype)
    for memory in (scores, scores[None].contiguous(memory_format=torch.channels_last)[0]):
        ids = class_ids(memory, enlarge, of_image, size)
        assert ids.dtype == torch.uint8
        assert torch.equal(ids.long(), by_detectron2(memory, of_image, size))


def test_of_equal_scores_the_first_class_is_taken():
    scores = low(SAME[0], 6).clamp(-0.1, 0.1)
    ids = class_ids(scores, enlarge, *SAME)
    assert torch.equal(ids.long(), by_detectron2(scores, *SAME))
    assert (class_ids(torch.zeros_like(scores), enlarge, *LARGER) == 0).all()


@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("sizes", [SAME, LARGER], ids=["same", "larger"])
def test_scores_that_are_not_finite(odd, sizes):
    scores = low(sizes[0], 5)
    scores[torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)) < 0.01] = odd
    assert torch.equal(class_ids(scores, enlarge, *sizes).long(), by_detectron2(scores, *sizes))


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.bytes = max(self.bytes, made.numel() * made.element_size())
        return made


def test_no_tensor_has_the_scores_of_two_classes():
    of_image, size = LARGER
    with Largest() as largest:
        class_ids(low(of_image, 19), enlarge, of_image, size)
    assert LARGE < largest.bytes // 4 < 2 * size[0] * size[1]


def test_many_classes_have_ids_above_255():
    scores = torch.zeros(300, 8, 8)
    scores[299] = 1
    ids = class_ids(scores, enlarge, (32, 32), (32, 32))
    assert (ids == 299).all()
    assert (ids_of_map(scores, 4, (32, 32), (32, 32)) == 299).all()


def test_ids_of_a_map_by_hand():
    # Stride 4, an image of 6 x 8 without padding, stored as 3 x 4: the middles of its rows are 1, 3 and 5 rows below
    # the upper edge of the image, which are rows 0, 0 and 1 of the map; those of its columns 1, 3, 5 and 7.
    ids = torch.tensor([[0, 1], [2, 3]])
    scores = F.one_hot(ids, 4).permute(2, 0, 1).float()
    assert ids_of_map(scores, 4, (6, 8), (3, 4)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
    assert ids_of_map(scores, 4, (8, 8), (2, 2)).tolist() == ids.tolist()


def test_ids_of_a_map_at_the_size_of_the_image_repeat_each_of_its_pixels():
    scores = low((64, 96), 5)
    ids = ids_of_map(scores, 4, (64, 96), (64, 96))
    assert torch.equal(ids.long(), scores.max(dim=0).indices.repeat_interleave(4, 0).repeat_interleave(4, 1))
