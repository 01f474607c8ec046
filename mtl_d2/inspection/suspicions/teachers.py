"""Pseudo labels that have little to do with the ground truth of the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

FEW = 5  # images with labels of both sources below which nothing is said
TRUE = 0.25  # share of pseudo labels that the ground truth should say as well


def wrong_teachers(observed: Sequence[Mapping[str, tuple[float, float]]]) -> Iterator[str]:
    """A sentence for each task whose pseudo labels are hardly ever true.

    Args:
        observed: of each sample, by task that has both, how much of the pseudo label is true, and of how much.
    """
    together: dict[str, list[tuple[float, float]]] = {}
    for one in observed:
        for task, of_sample in one.items():
            together.setdefault(task, []).append(of_sample)
    for task, counts in together.items():
        true, total = sum(part for part, _ in counts), sum(whole for _, whole in counts)
        if len(counts) >= FEW and true < TRUE * total:
            yield (
                f"only {100 * true / total:.2g} % of the pseudo labels of {task} are those of the ground truth, in "
                f"{len(counts)} samples that have both: are they of these images, and of a teacher that has learnt?"
            )
