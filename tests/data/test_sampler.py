from itertools import islice, pairwise

import numpy as np
import pytest
from detectron2.config import get_cfg

from mtl_d2.data.mixture import BLOCK, WeightedMixture, of_sizes
from mtl_d2.data.repeat import repeat_factors
from mtl_d2.data.sampler import FixedShares, RankBatches, RepeatedStream, ShuffledStream, Union


def batches(n, order, **where):
    return list(islice(RankBatches(order, 8, **where), n))


def shares():
    return FixedShares([ShuffledStream(5, 3, 0), ShuffledStream(7, 3, 1)], (5, 7), (6, 2))


def mixture(weights, sizes=(5, 700, 30)):
    streams = [ShuffledStream(size, 3, i) for i, size in enumerate(sizes)]
    return WeightedMixture(streams, sizes, weights, 3)


ORDERS = {
    "weights": lambda: mixture([0.2, 0.7, 0.1]),
    "union": lambda: Union(ShuffledStream(21, 3), 2),
    "shares": shares,
    "repeated": lambda: Union(RepeatedStream([1.0, 2.5, 1.2, 3.0], 3), 2),
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


WEIGHTS = {"equal": [1, 1, 1], "odd": [0.2, 3.7, 1e-6], "small": [1e-9, 1, 0.999], "large": [1e300, 2e300, 0.5e300]}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_the_counts_of_a_mixture_are_those_of_its_weights_within_one(weights):
    order = mixture(weights)
    shares = np.array(weights) / sum(weights)
    before = [0, 0, 0]
    for block in range(60):
        counts = order.counts(block * BLOCK)
        assert sum(counts) == block * BLOCK
        assert np.abs(counts - block * BLOCK * shares).max() <= 1
        assert min(np.subtract(counts, before)) >= 0
        before = counts
    assert sum(order.counts(10**9 * BLOCK)) == 10**9 * BLOCK


def test_the_seats_of_a_mixture_are_websters():
    """Seats 1 to 7 of votes 53, 24, 23: quotients 53, 24, 23, 17.7, 10.6, 8, 7.7."""
    order = mixture([53, 24, 23])
    assert [order.counts(n) for n in range(8)] == [
        [0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [3, 1, 1], [3, 2, 1], [3, 2, 2],
    ]  # fmt: skip


def test_each_set_of_a_mixture_goes_through_its_own_epochs_without_repeats_or_gaps():
    order = mixture([0.2, 0.7, 0.1])
    drawn = [order.index(p) for p in range(5 * BLOCK)]
    assert [i < 5 for i in drawn[:BLOCK]] != [i < 5 for i in drawn[BLOCK : 2 * BLOCK]]
    for first, end in ((0, 5), (5, 705), (705, 735)):
        seen = [i for i in drawn if first <= i < end]
        size = end - first
        epochs = [seen[k : k + size] for k in range(0, len(seen) - size + 1, size)]
        assert len(epochs) > 1
        assert all(sorted(epoch) == list(range(first, end)) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_ranks_get_a_set_of_a_mixture_as_often_as_others_do():
    """What is in turn a record of the one and of the other would give each rank one of the two."""
    order = mixture([1, 1], sizes=(100, 100))
    for rank in range(2):
        seen = np.array([[i < 100 for _, i in batch] for batch in batches(128, order, rank=rank, world_size=2)])
        assert 0.4 < seen.mean() < 0.6
        assert np.isin(seen.sum(1), (0, 4)).mean() < 0.25  # 1/8 in the mean: all four of one set


def test_the_temperature_makes_sizes_alike():
    assert np.array(of_sizes([100, 400], 1)) @ [4, -1] == pytest.approx(0)
    assert np.array(of_sizes([100, 400], 2)) @ [2, -1] == pytest.approx(0)
    assert of_sizes([1, 10**6], 1e9) == pytest.approx([1, 1], rel=1e-6)
    assert of_sizes([10, 20], 0.01) == pytest.approx([2**-100, 1])  # without an overflow


def test_epochs_are_those_that_were_gone_through(make_order):
    order, again = make_order(), make_order()
    numbers = [order.epochs(p) for p in range(90)]
    assert set(numbers[0]) == {0.0}
    assert all(b >= a for one, two in pairwise(numbers) for a, b in zip(one, two, strict=True))
    assert numbers == [again.epochs(p) for p in reversed(range(90))][::-1]


def test_epochs_count_what_a_set_has_given():
    assert shares().epochs(3) == (3 / 5, 0)
    assert shares().epochs(8 * 5) == (6 * 5 / 5, 2 * 5 / 7)
    assert Union(ShuffledStream(21, 3), 2).epochs(42) == (2, 2)
    order = mixture([0.2, 0.7, 0.1])
    drawn = np.array([order.index(p) for p in range(1500)])
    assert order.epochs(1500) == (
        (drawn < 5).sum() / 5,
        ((drawn >= 5) & (drawn < 705)).sum() / 700,
        (drawn >= 705).sum() / 30,
    )
    assert RepeatedStream([1.0, 2.0], 3).epoch(7) == pytest.approx(7 / 3)


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
