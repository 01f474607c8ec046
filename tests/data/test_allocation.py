import re
from collections import Counter
from itertools import chain, combinations, count, islice, pairwise

import pytest
import torch
from detectron2.structures import Boxes, Instances
from scipy.stats import chi2

from mtl_d2.balancing import Setup
from mtl_d2.balancing.checks import mistakes
from mtl_d2.data import build_train_loader
from mtl_d2.data.allocation import ALLOCATIONS
from mtl_d2.options import defaults

TASKS = ("detection", "semantic", "depth", "normals")
CHOICES = {
    "full": ("full", {}),
    "sta": ("sta", {}),
    "sta 2": ("sta", {"k": 2}),
    "ista": ("ista", {}),
    "ista 2": ("ista", {"k": 2}),
    "gap": ("gap", {"n": 3}),
    "gap random": ("gap", {"n": 3, "draw": "random"}),
    "gap 2": ("gap", {"n": 4, "k": 2}),
}
B = 4


def build(choice, tasks=TASKS[:3], seed=7):
    name, options = CHOICES[choice]
    method = ALLOCATIONS.get(name)
    return method(Setup(tuple(tasks), 100), B, seed, **{**defaults(method.options), **options})


def labelled(position, tasks):
    """All labels, some or one, in turn."""
    return tuple(tasks[position % 2 :][: len(tasks) - position % 3]) or tasks[:1]


def stream(start=0, rank=0, world_size=1, tasks=TASKS[:3], available=labelled):
    for first in count(start, B):
        positions = range(first + rank, first + B, world_size)
        yield [{"position": p, "tasks": available(p, tasks), "image": torch.tensor(p)} for p in positions]


def pairs(batch):
    return [(s["position"], s["tasks"]) for s in batch]


def run(allocation, updates, **where):
    return [pairs(b) for b in islice(allocation(stream(allocation.start, **where)), updates)]


def every(position, tasks):
    return tasks


@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_resumed_at_any_update_equals_one_that_was_not(choice):
    whole = run(build(choice), 60)
    for stop in range(40):
        stopped, resumed = build(choice), build(choice)
        head = run(stopped, stop)
        resumed.load_state_dict(stopped.state_dict())
        assert head + run(resumed, 60 - stop) == whole, stop


@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_resumed_twice_equals_one_that_was_not(choice):
    whole, parts, state = run(build(choice), 60), [], build(choice).state_dict()
    for updates in (5, 1, 4, 13, 8, 29):
        part = build(choice)
        part.load_state_dict(state)
        parts += run(part, updates)
        state = part.state_dict()
    assert parts == whole


@pytest.mark.parametrize("choice", CHOICES)
def test_no_more_is_read_again_than_is_in_flight(choice):
    allocation = build(choice)
    updates = allocation.block * allocation.uses
    for made, _ in enumerate(islice(allocation(stream()), 3 * updates), 1):
        blocks, within = divmod(made, updates)
        assert 0 <= allocation.start - blocks * allocation.block * B < allocation.block * B or within == 0
    assert allocation.start == 3 * allocation.block * B
    assert all(isinstance(value, int) for value in allocation.state_dict().values())


@pytest.mark.parametrize("choice", CHOICES)
def test_ranks_together_are_one_process_with_a_batch_an_update_each(choice):
    whole = run(build(choice), 40)
    ranks = [run(build(choice), 40, rank=r, world_size=2) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == whole


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", ["ista", "gap"])
def test_every_label_is_used_once_by_each_mini_batch(name, k):
    method = ALLOCATIONS.get(name)
    allocation = method(Setup(TASKS, 100), B, 7, **{**defaults(method.options), "k": k})
    assert allocation.uses == {1: 4, 2: 2, 3: 2}[k]
    updates = 2 * allocation.block * allocation.uses
    given = chain.from_iterable(run(allocation, updates, tasks=TASKS))
    used = Counter((p, task) for p, tasks in given for task in tasks)
    samples = chain.from_iterable(islice(stream(tasks=TASKS), 2 * allocation.block))
    assert used == Counter((s["position"], task) for s in samples for task in s["tasks"])


def test_ista_takes_k_tasks_until_they_are_used_up_and_samples_leave():
    first, second, third = run(build("ista"), 3)
    assert [len(b) for b in (first, second, third)] == [4, 3, 1]  # the samples have 3, 2, 1 and 2 labels
    assert all(len(tasks) == 1 for _, tasks in first + second + third)
    assert {p for p, _ in run(build("ista"), 6)[3]} == {4, 5, 6, 7}


def test_a_mini_batch_without_labels_left_still_makes_its_updates():
    one = lambda position, tasks: tasks[:1]  # noqa: E731
    assert [len(b) for b in run(build("ista"), 7, available=one)] == [4, 0, 0, 4, 0, 0, 4]


def test_gap_comes_back_after_n_updates():
    positions = [{p // B for p, _ in b} for b in run(build("gap"), 18, available=every)]
    assert positions == [{b} for b in [0, 1, 2] * 3 + [3, 4, 5] * 3]


def test_complementary_gap_of_two_tasks_gives_what_the_first_use_left():
    batches = run(build("gap", TASKS[:2]), 6, tasks=TASKS[:2], available=every)
    for first, second in zip(batches[:3], batches[3:], strict=True):
        for (p, a), (q, b) in zip(first, second, strict=True):
            assert p == q
            assert {*a, *b} == {*TASKS[:2]}


def test_gap_of_one_is_ista():
    gap = ALLOCATIONS.get("gap")(Setup(TASKS[:3], 100), B, 7, n=1, k=1, draw="complementary")
    assert run(gap, 20) == run(build("ista"), 20)


def test_random_gap_draws_each_use_anew():
    batches = run(build("gap random", TASKS[:2]), 600, tasks=TASKS[:2], available=every)
    again = [batches[6 * b + i] == batches[6 * b + 3 + i] for b in range(100) for i in range(3)]
    assert 0 < sum(again) / len(again) < 0.2  # 1/16: four samples draw the same again
    assert all(len(tasks) == 1 for b in batches for _, tasks in b)


def test_full_gives_the_very_samples():
    batches = list(islice(stream(), 3))
    assert all(a is b for a, b in zip(build("full")(batches), batches, strict=True))


@pytest.mark.parametrize(("choice", "k"), [("sta", 1), ("sta 2", 2)])
def test_sta_gives_k_of_the_available_tasks(choice, k):
    allocation = build(choice)
    for before, after in zip(stream(), islice(allocation(stream()), 30), strict=False):
        for given, drawn in zip(before, after, strict=True):
            assert len(drawn["tasks"]) == min(k, len(given["tasks"]))
            assert set(drawn["tasks"]) <= set(given["tasks"])


def test_what_was_given_out_leaves_the_held_mini_batch_alone():
    batches = list(islice(stream(), 4))
    before = [pairs(b) for b in batches]
    for given in build("ista")(batches):
        for sample in given:
            assert sample["image"] is batches[sample["position"] // B][sample["position"] % B]["image"]
            sample.clear()
    assert [pairs(b) for b in batches] == before


def assert_uniform(drawn, outcomes):
    """Chi-square: a uniform draw passes with probability 1 - 1e-6."""
    counts = Counter(drawn)
    assert set(counts) <= set(outcomes)
    expected = len(drawn) / len(outcomes)
    assert len(outcomes) == 1 or sum((counts[o] - expected) ** 2 / expected for o in outcomes) < chi2.isf(
        1e-6, len(outcomes) - 1
    )


@pytest.mark.parametrize(("choice", "k"), [("sta", 1), ("sta 2", 2), ("ista", 1), ("gap random", 1)])
def test_draws_are_uniform_over_subsets_in_every_use(choice, k):
    allocation = build(choice, TASKS)
    for use in range(allocation.uses):
        batch = [{"position": p, "tasks": TASKS} for p in range(4000)]
        drawn = [s["tasks"] for s in allocation.allocate(batch, use)]
        assert_uniform(drawn, list(combinations(TASKS, k)))


@pytest.fixture
def three_sets(cfg, tiny_root, own_sets):
    """A union of records with 1, 2 and 3 labels."""
    maps = tiny_root / "bdd100k/labels/sem_seg/masks/train"
    classes = {"thing_classes": list("abcdefghij")}
    classes |= {f"stuff_classes{name}": list("abcdefghijklmnopqrs") for name in ("", "/lane")}
    for number in (1, 2, 3):
        records = []
        for i in range(4):
            record = {"file_name": str(tiny_root / f"bdd100k/images/10k/train/seg-train-{i}.jpg"), "annotations": []}
            keys = ("sem_seg_file_name", "sem_seg_file_name/lane")[: number - 1]
            records.append(record | dict.fromkeys(keys, str(maps / f"seg-train-{i}.png")))
        own_sets(f"labels_{number}", records, **classes)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(f"labels_{number}" for number in (1, 2, 3)), ()
    cfg.MTL.TASKS, cfg.SOLVER.IMS_PER_BATCH = ("detection", "semantic", "semantic/lane"), 12
    cfg.INPUT.MIN_SIZE_TRAIN = (16,)
    return cfg


@pytest.mark.parametrize("choice", ["sta", "ista", "gap", "gap random"])
def test_a_union_draws_uniformly_among_the_tasks_that_a_sample_has_in_every_epoch(three_sets, choice):
    epochs, size = 300, three_sets.SOLVER.IMS_PER_BATCH
    allocation = build(choice, three_sets.MTL.TASKS)
    (samples,) = islice(build_train_loader(three_sets), 1)  # an epoch, of which the labels matter alone
    assert Counter(len(s["tasks"]) for s in samples) == {1: 4, 2: 4, 3: 4}
    draws = {(number, use): [] for number in (1, 2, 3) for use in range(allocation.uses)}
    for epoch in range(epochs):
        batch = [{"position": epoch * size + k, "tasks": s["tasks"]} for k, s in enumerate(samples)]
        available = {s["position"]: s["tasks"] for s in batch}
        for use in range(allocation.uses):
            for sample in allocation.allocate(batch, use):
                draws[len(available[sample["position"]]), use] += sample["tasks"]
    for (number, use), tasks in draws.items():
        used_up = use >= number and choice in ("ista", "gap")
        assert len(tasks) == (0 if used_up else 4 * epochs)  # one of each sample an epoch, while it has any left
        for some_epochs in (tasks[: len(tasks) // 3], tasks[-len(tasks) // 3 :], tasks):
            if some_epochs:
                assert_uniform(some_epochs, three_sets.MTL.TASKS[:number])


def test_neighbouring_samples_and_uses_draw_independently():
    allocation = build("gap random", TASKS[:2])
    first, second = (
        [allocation.draw(TASKS[:2], p, use)[0] for p in range(4001)] for use in (0, 1)
    )  # fmt: skip
    outcomes = [(a, b) for a in TASKS[:2] for b in TASKS[:2]]
    assert_uniform(list(pairwise(first))[::2], outcomes)
    assert_uniform(list(zip(first, second, strict=True)), outcomes)


def test_another_seed_is_another_draw():
    assert run(build("sta", seed=7), 20) != run(build("sta", seed=8), 20)


def test_two_tasks_are_covered_by_disjoint_samples():
    for batch in run(build("sta", TASKS[:2]), 5, tasks=TASKS[:2], available=every):
        assert len(batch) == B
        assert {len(tasks) for _, tasks in batch} == {1}


def test_another_allocation_takes_over_between_blocks_but_not_within():
    ista, full = build("ista"), build("full")
    run(ista, 6)
    full.load_state_dict(ista.state_dict())
    assert [p for p, _ in run(full, 1)[0]] == [8, 9, 10, 11]
    run(ista, 2)
    with pytest.raises(ValueError, match=r"MTL\.ALLOCATION cannot change .* 2 updates into a block.*multiple of 3"):
        build("full").load_state_dict(ista.state_dict())


def test_a_long_gap_holds_mini_batches_in_memory_of_its_own():
    boxes = Instances((8, 8), gt_boxes=Boxes(torch.rand(2, 4).share_memory_()))
    shared = [{"position": 0, "tasks": TASKS[:3], "image": torch.rand(3).share_memory_(), "instances": boxes}]
    given = next(build("gap")([shared]))[0]
    assert not given["image"].is_shared()
    assert not given["instances"].gt_boxes.tensor.is_shared()
    assert torch.equal(given["image"], shared[0]["image"])


def test_a_long_gap_does_not_copy_all_images_that_a_sample_is_a_view_of():
    images = torch.rand(50, 3)
    given = next(build("gap")([[{"position": 0, "tasks": TASKS[:3], "image": images[7]}]]))[0]
    assert torch.equal(given["image"], images[7])
    assert given["image"].untyped_storage().nbytes() == images[7].nbytes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sta", {"k": 0}, "K must be a whole number >= 1, got 0"),
        ("ista", {"k": 4}, "K must be .* got 4"),
        ("gap", {"n": 0}, "N must be a whole number >= 1, got 0"),
        ("gap", {"draw": "any"}, "DRAW must be one of 'complementary', 'random', got 'any'"),
    ],
)
def test_options_that_make_no_sense_are_told(name, options, message):
    method = ALLOCATIONS.get(name)
    usual = defaults(method.options)
    assert mistakes(method, usual, Setup(TASKS[:3], 100)) == []
    (found,) = mistakes(method, {**usual, **options}, Setup(TASKS[:3], 100))
    assert re.search(message, found)


@pytest.mark.parametrize("choice", ["sta", "ista", "gap"])
def test_the_number_of_workers_changes_nothing(cfg, tiny_root, choice):
    found = []
    for workers in (0, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        allocation = build(choice, TASKS[:2])
        batches = list(islice(allocation(build_train_loader(cfg, allocation.start)), 8))
        found.append([[(s["position"], s["tasks"], s["image"].sum().item()) for s in b] for b in batches])
    assert found[0] == found[1]
