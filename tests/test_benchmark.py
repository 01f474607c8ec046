"""The benchmark: that it runs, and that the updates do the arithmetic that they should and no more."""

import json
import math
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import benchmark  # noqa: E402
from benchmark_bare import BARE  # noqa: E402
from benchmark_methods import METHODS, build_method, make_rows, weigh_and_combine  # noqa: E402
from benchmark_models import Setting  # noqa: E402
from benchmark_variants import SPEED, VARIANTS, Bench, FlopCounter, make_update  # noqa: E402

from mtl_d2.balancing import AGGREGATORS, Oracle  # noqa: E402
from mtl_d2.balancing.exact.rows import cosines, gramian  # noqa: E402
from mtl_d2.parallel.reduction import Reduction  # noqa: E402

SMALL = ["--model", "small", "--size", "64x96", "--batch", "2"]


@pytest.fixture(scope="module")
def bench():
    bench = Bench(Setting("small", (64, 96), 2, 2, "cpu"))
    for group in bench.optimizer.param_groups:
        group["lr"] = 0.0  # what one test does changes nothing for the next
    return bench


def count(function, *arguments, **options):
    with FlopCounter() as counter:
        result = function(*arguments, **options)
    return counter.flops, result


def counted_update(bench, name):
    return count(make_update, bench.trainer(VARIANTS[name]))[0]


def test_lenet_does_the_arithmetic_of_a_bare_loop():
    bench = Bench(Setting("lenet", (36, 36), 4, 2, "cpu"))
    operations = {name: count(make_update, bench.trainer(variant))[0] for name, variant in BARE.items()}
    assert operations["bare"] > 0
    assert operations["ours-joint"] == operations["bare"]
    # Both go through each head once; the rest of the difference is the bare loop's products of rows.
    assert operations["bare-tasks"] == pytest.approx(operations["ours-mclgs"], rel=0.05)


def counted_parts(bench):
    """What an update is made of, counted part by part.

    Operations of the trunk forward; of its backward by the levels it starts from; of each head both ways; and
    the levels that each head uses.
    """
    oracle, samples = Oracle(bench.model), bench.batches[False]
    trunk, features = count(oracle.model.shared_features, oracle.model.batch_images(samples))
    heads, used = {}, {}
    for task, parameters in zip(oracle.names, oracle.heads, strict=True):
        leaves = {name: feature.detach().requires_grad_() for name, feature in features.items()}
        with EventStorage(), torch.jit.optimized_execution(False):
            forward, terms = count(oracle.model.task_losses, task, leaves, samples, Reduction())
        inputs = [*leaves.values(), *parameters]
        backward, found = count(torch.autograd.grad, sum(terms.values()), inputs, allow_unused=True)
        heads[task] = forward + backward
        used[task] = [name for name, gradient in zip(leaves, found, strict=False) if gradient is not None]

    def backward_from(names):
        outputs = [features[name] for name in names]
        options = {"retain_graph": True, "allow_unused": True}
        return count(torch.autograd.grad, outputs, oracle.shared, [torch.ones_like(x) for x in outputs], **options)[0]

    return trunk, heads, backward_from, used


def test_one_round_of_all_variants_gives_finite_figures(tmp_path, capsys):
    file = tmp_path / "figures.json"
    benchmark.main([*SMALL, "--rounds", "1", "--threads", "1", "--flops", "--json", str(file)])
    printed = capsys.readouterr().out
    written = json.loads(file.read_text())
    assert list(written["variants"]) == list(VARIANTS)
    for name, figures in written["variants"].items():
        numbers = [value for key, value in figures.items() if key != "reference"]
        assert len(numbers) == 6
        assert all(math.isfinite(x) and x > 0 for x in numbers)
        assert f"| `{name}` |" in printed
    assert written["settings"]["size"] == [64, 96]
    assert written["machine"]["threads"] == 1


def test_one_round_of_all_methods_compares_every_aggregator_with_mean(tmp_path, capsys):
    file = tmp_path / "figures.json"
    benchmark.main([*SMALL, "--rounds", "1", "--threads", "1", "--all-methods", "--json", str(file)])
    printed = capsys.readouterr().out
    written = json.loads(file.read_text())["variants"]
    assert set(written) == {*AGGREGATORS.names(), "mclgs+mean", "mclgs+cagrad"} - {"pivrg"}  # FairGrad, in effect
    for name, figures in written.items():
        assert figures.pop("reference") == "mean"
        assert len(figures) == 10
        assert all(math.isfinite(x) for x in figures.values())
        assert min(figures["weigh_s_t2"], figures["weigh_s_t3"], figures["cpu_ratio"]) > 0
        assert f"| `{name}` |" in printed
    assert written["mean"]["share_t2"] == written["mean"]["share_t3"] == 0


def test_every_method_is_measured_on_the_exact_path():
    for name in METHODS:
        assert build_method(Setting("small", (64, 96), 2, 2, "cpu"), name, 3).needs_rows(update=0)


def test_measured_part_of_a_method_gives_what_the_method_gives():
    rows = make_rows([torch.Size([500]), torch.Size([20, 30])], 3, "cpu")
    flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    assert (flat[0] @ flat[1:].T < 0).all()
    for name in ("mean", "sum"):
        built = build_method(Setting("small", (64, 96), 2, 2, "cpu"), name, 3)
        found = torch.cat([part.flatten() for part in weigh_and_combine(built, rows, 0)])
        torch.testing.assert_close(found, getattr(flat, name)(0))


@pytest.mark.skipif(not benchmark.STATUS.exists(), reason="reads Linux's /proc")
def test_peak_memory_is_measured_in_a_process_of_its_own(capsys):
    results = benchmark.main([*SMALL, "--rounds", "0", "--variants", "simple", "--memory"])
    assert 1 < results["simple"]["peak_mib"] < 1000
    assert results["simple"]["peak_ratio"] == 1


def test_reference_is_measured_even_if_it_is_not_named():
    assert benchmark.parse(["--variants", "mclgs-disjoint"]).variants == ["simple-disjoint", "mclgs-disjoint"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "256"], "--size must be HxW"),
        (["--tasks", "6"], "--tasks must be 1 to 5, got 6"),
        (["--batch", "1"], "--batch must be at least --tasks (2), got 1"),
        (["--all-methods", "--variants", "simple"], "--all-methods compares mean, aligned_mtl, "),
        (["--rounds", "-1"], "--rounds must be at least 0, got -1"),
    ],
)
def test_wrong_argument_is_named(arguments, said, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(arguments)
    assert said in capsys.readouterr().err


def test_exact_path_pays_one_pruned_trunk_backward_for_each_task(bench):
    trunk, heads, backward_from, used = counted_parts(bench)
    assert used == {"detection": ["p3", "p4", "p5"], "semantic": ["p2", "p3", "p4", "p5"]}
    once = trunk + sum(heads.values())
    for_each_task = sum(backward_from(names) for names in used.values())
    for_all = backward_from(used["semantic"])
    assert counted_update(bench, "mclgs") == once + for_each_task
    assert counted_update(bench, "simple") == once + for_all


def test_five_tasks_pay_one_pruned_trunk_backward_each():
    bench = Bench(Setting("small", (64, 96), 2, 5, "cpu"))
    trunk, heads, backward_from, used = counted_parts(bench)
    assert list(used) == ["detection", "semantic", "depth", "normals", "depth/disparity"]
    expected = trunk + sum(heads.values()) + sum(map(backward_from, used.values()))
    assert counted_update(bench, "mclgs") == expected


def forward_operations(bench, name):
    """Operations of the forward passes of one update, by convolution: its name, and a number for each pass."""
    passes = {}

    def note(layer, given, made, key):
        passes.setdefault(key, []).append(2 * layer.weight[0].numel() * made.numel())  # with a 1 for each output

    layers = {key: layer for key, layer in bench.model.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    hooks = [layer.register_forward_hook(partial(note, key=key)) for key, layer in layers.items()]
    make_update(bench.trainer(VARIANTS[name]))
    for hook in hooks:
        hook.remove()
    return passes


@pytest.mark.parametrize("name", ["segnet-small", "mtan-small"])
def test_a_segnet_pays_one_trunk_forward_and_as_many_backwards_as_tasks(name):
    """A backward pass of a convolution costs two forward ones: for its input and for its weights."""
    bench = Bench(Setting(name, (64, 96), 2, 3, "cpu"))
    passes = forward_operations(bench, "mclgs")
    blocks = {key for key in passes if key.startswith("backbone.attention_blocks.")}
    trunk = {key for key in passes if key.startswith("backbone.")} - blocks
    assert {len(passes[key]) for key in blocks} == ({3} if name == "mtan-small" else set())
    assert {len(passes[key]) for key in passes.keys() - blocks} == {1}
    first = passes["backbone.bottom_up.features.0"][0]  # nobody asks for the gradient of the images
    heads = 3 * sum(sum(passes[key]) for key in passes.keys() - trunk)
    whole = sum(passes[key][0] for key in trunk)
    for variant, backwards in (("mclgs", 3), ("joint", 1), ("simple", 1), ("retained", 3)):
        expected = heads + (1 + 2 * backwards) * whole - backwards * first
        assert counted_update(bench, variant) == pytest.approx(expected, rel=0.01)


def test_one_backward_with_equal_weights_does_no_more_than_simple_trainer(bench):
    assert counted_update(bench, "joint") == counted_update(bench, "simple")


def test_disjoint_images_cost_no_more_than_simple_trainer(bench):
    assert counted_update(bench, "mclgs-disjoint") <= 1.001 * counted_update(bench, "simple-disjoint")


def test_a_setting_of_the_network_is_measured_on_a_copy_with_the_same_weights(bench):
    there = bench.trainer(VARIANTS["mclgs"])
    made = bench.trainer(SPEED["mclgs-channels-last"])
    assert there.model is bench.model
    assert made.model is not bench.model
    weights = [p for p in made.model.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert {id(p) for g in made.optimizer.param_groups for p in g["params"]} == {id(p) for p in made.model.parameters()}
    assert all(map(torch.equal, made.model.parameters(), bench.plain.parameters()))
    assert counted_update(bench, "mclgs") == count(make_update, made)[0]


def test_naive_update_gives_the_gradients_of_the_exact_path(bench):
    found = {}
    for name in ("mclgs", "naive"):
        bench.model.loss_normalizer.fill_(300)  # a moving average, which the update before has moved
        make_update(bench.trainer(VARIANTS[name]))
        found[name] = torch.cat([p.grad.flatten().double() for p in bench.model.parameters() if p.grad is not None])
    assert (found["mclgs"] - found["naive"]).norm() < 1e-4 * found["mclgs"].norm()


@pytest.fixture(scope="module")
def rcnn_bench():
    return Bench(Setting("rcnn-small", (64, 96), 2, 2, "cpu"))


@pytest.mark.filterwarnings("ignore")
def test_mask_rcnn_with_all_tasks_does_the_arithmetic_of_detectron2s_and_sta_less(rcnn_bench):
    counted = {}
    for name in ("simple", "joint", "mclgs", "sta", "sta-mclgs"):
        torch.manual_seed(0)  # of the proposals' sampling
        counted[name] = counted_update(rcnn_bench, name)
    assert counted["joint"] == counted["simple"]
    assert counted["sta"] == counted["sta-mclgs"] < 0.9 * counted["joint"]
    assert counted["joint"] < counted["mclgs"] < 1.4 * counted["joint"]


@pytest.fixture(scope="module", params=[2, 3])
def r50(request):
    return Bench(Setting("r50", (64, 128), 2, request.param, "cpu"))


def test_exact_gradients_of_a_resnet50_cost_the_operations_that_were_promised(r50):
    ratio = counted_update(r50, "mclgs") / counted_update(r50, "simple")
    assert ratio <= {2: 1.21, 3: 1.47}[r50.setting.tasks]


def test_cosines_are_those_of_float64(r50):
    oracle = Oracle(r50.model)
    oracle.load(r50.batches[False])
    with EventStorage(), torch.jit.optimized_execution(False):
        rows = oracle.gradients().rows
    doubled = [torch.cat([p.new_zeros(p.shape).double().flatten() if g is None else g.double().flatten()
                          for g, p in zip(row, oracle.shared, strict=True)]) for row in rows]  # fmt: skip
    J = torch.stack(doubled)
    assert (cosines(gramian(rows)) - cosines(J @ J.T)).abs().max() < 1e-6
