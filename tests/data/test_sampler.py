from itertools import islice

import numpy as np
import pytest
from detectron2.config import get_cfg

from mtl_d2.data.repeat import repeat_factors
from mtl_d2.data.sampler import FixedShares, RankBatches, RepeatedStream, ShuffledStream


def batches(n, order, **where):
    return list(islice(RankBatches(order, 8, **where), n))


def shares():
    return FixedShares([ShuffledStream(5, 3, 0), ShuffledStream(7, 3, 1)], (5, 7), (6, 2))


ORDERS = {
    "union": lambda: ShuffledStream(21, 3),
    "shares": shares,
    "repeated": lambda: RepeatedStream([1.0, 2.5, 1.2, 3.0], 3),
    "repeated shares": lambda: FixedShares([RepeatedStream([1.5, 1.0], 3, 0), ShuffledStream(7, 3, 1)], (2, 7), (6, 2)),
}


@pytest.fixture(params=ORDERS)
def make_order(request):
    return ORDERS[request.param]


def test_every_epoch_holds_each_record_once_in_another_order():
    order = ShuffledStream(10, 3)
    first, second = ([order.index(p) for p in range(e * 10, e * 10 + 10)] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_another_seed_is_another_order():
    assert [ShuffledStream(50, 3).index(p) for p in range(50)] != [ShuffledStream(50, 4).index(p) for p in range(50)]


def test_the_order_depends_on_nothing_but_seed_and_position(make_order):
    forwards = {p: make_order().index(p) for p in range(60)}
    one = make_order()
    assert {p: one.index(p) for p in reversed(range(60))} == forwards


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_ranks_together_see_what_one_process_sees(make_order, world_size):
    whole = batches(10, make_order())
    parts = [batches(10, make_order(), rank=r, world_size=world_size) for r in range(world_size)]
    for b, batch in enumerate(whole):
        assert sorted(place for part in parts for place in part[b]) == batch
        assert all(len(part[b]) == 8 // world_size for part in parts)


def test_positions_are_consecutive(make_order):
    assert [p for batch in batches(5, make_order()) for p, _ in batch] == list(range(40))


@pytest.mark.parametrize("start", [8, 24, 20])
def test_a_resumed_stream_is_the_tail_of_the_uninterrupted_one(make_order, start):
    uninterrupted = [place for batch in batches(10, make_order()) for place in batch]
    resumed = [place for batch in batches(4, make_order(), start=start) for place in batch]
    assert resumed == uninterrupted[start : start + 32]


def test_each_batch_holds_the_shares_and_each_stream_is_shuffled_epochs():
    indices = [[i for _, i in batch] for batch in batches(35, shares())]
    assert all(sum(i < 5 for i in batch) == 6 for batch in indices)
    small = [i for batch in indices for i in batch if i < 5]
    large = [i for batch in indices for i in batch if i >= 5]
    assert all(sorted(small[k : k + 5]) == [0, 1, 2, 3, 4] for k in range(0, 210, 5))
    assert all(sorted(large[k : k + 7]) == list(range(5, 12)) for k in range(0, 70, 7))


def test_ranks_get_balanced_shares():
    for rank in range(2):
        for batch in batches(5, shares(), rank=rank, world_size=2):
            assert sum(i < 5 for _, i in batch) == 3


def test_record_is_repeated_as_often_as_its_factor_says():
    order = RepeatedStream([1.0, 2.0, 1.25], 3)
    order.index(40_000)
    starts = order._starts[:9000]
    counts = np.bincount([order.index(p) for p in range(starts[-1])])
    epochs = len(starts) - 1
    assert counts[0] == epochs
    assert counts[1] == 2 * epochs
    assert counts[2] == pytest.approx(1.25 * epochs, rel=0.02)


def test_factors_are_detectron2s_over_the_records_with_boxes():
    records = [{"annotations": [{"category_id": 0}]}] * 8 + [{"annotations": [{"category_id": 0}, {"category_id": 1}]}]
    records += [{"annotations": []}, {"sem_seg_file_name": "a.png"}]
    options = get_cfg().DATALOADER
    options.REPEAT_THRESHOLD = 0.4  # class 1 is on 1 of the 10 images with boxes: sqrt(0.4 / 0.1) = 2
    assert repeat_factors(records, options).tolist() == [1.0] * 8 + [2.0, 1.0, 1.0]
    assert repeat_factors(records[-1:], options).tolist() == [1.0]
