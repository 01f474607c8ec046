import pytest
import torch
from toy import context, stage


def aligned(rows, **options):
    return stage(len(rows), "aligned_mtl", **options)(rows @ rows.T, context(len(rows))).shared


def test_orthogonal_gradients_by_hand():
    # lengths 1 and 3 become the shorter one: the update is ((1, 0) + (0, 1)) / 2
    rows = torch.tensor([[1.0, 0], [0, 3]], dtype=torch.float64)
    assert (aligned(rows) @ rows).tolist() == pytest.approx([0.5, 0.5])
    length = 5**0.5  # root of the mean of 1 and 9
    assert (aligned(rows, balance="rmse") @ rows).tolist() == pytest.approx([length / 2, length / 2])


@pytest.mark.parametrize("num_tasks", [2, 3, 10])
def test_equals_the_mean_of_the_papers_aligned_rows(num_tasks):
    # J = U S V'; the aligned rows are s_min U V' (theorem 1)
    rows = torch.randn(num_tasks, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(aligned(rows) @ rows, S.min() * (U @ Vh).mean(0), rtol=1e-8, atol=1e-10)


def test_parallel_gradients_keep_their_direction():
    rows = torch.tensor([[1.0, 2], [2, 4]], dtype=torch.float64)
    update = aligned(rows) @ rows
    assert (update / update.norm()).tolist() == pytest.approx([1 / 5**0.5, 2 / 5**0.5])
