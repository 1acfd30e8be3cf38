"""Which samples each part has: stratified, seeded draws."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ..options import Options
from .base import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..annotations import Array

__all__ = ["SplitOptions", "describe_split", "share", "split_indices", "split_parts", "stratified"]


class SplitOptions(Options):
    """What every dataset with a training and a test part may say.

    ``validation`` is the fraction of the training samples that is set aside, stratified and seeded. ``train_images`` and
    ``test_images`` take that many, drawn likewise (default all). ``official: false`` takes files that are not the published
    ones: a subset of one's own, another packing.
    """
    validation: float = Field(0.1, gt=0, lt=1)
    split_seed: int = Field(0, ge=0)
    train_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)
    official: bool = True


def stratified(labels: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Indices of ``count`` samples, each class by its share as nearly as whole samples allow -> (chosen, others), ascending.

    Parameters
    ----------
    labels : int array [N]
    count : int, at most N
    rng : numpy Generator
    """
    order = rng.permutation(len(labels))
    # The k-th sample of a class of n stands at (k + 1/2) / n: any beginning of that order has all classes in proportion.
    place, sizes = np.empty(len(labels)), np.bincount(labels)
    seen = np.zeros_like(sizes)
    for index in order:
        place[index] = (seen[labels[index]] + 0.5) / sizes[labels[index]]
        seen[labels[index]] += 1
    order = order[np.argsort(place[order], kind="stable")]
    return np.sort(order[:count]), np.sort(order[count:])


def share(total: int, fraction: float) -> int:
    """Samples that a fraction is: at least one."""
    return max(1, round(total * fraction))


def split_indices(labels: Array, test: float, validation: float, seed: int) -> dict[str, Array]:
    """Stratified split by a seeded permutation within each class.

    Parameters
    ----------
    labels : int array [N]
    test, validation : fractions of each class, rounded to whole images

    Returns
    -------
    dict part -> int64 indices, ascending
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Array]] = {part: [] for part in PARTS}
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        first, second = round(len(members) * test), round(len(members) * (test + validation))
        for part, chosen in zip(("test", "validation", "train"), np.split(members, [first, second])):
            parts[part].append(chosen)
    return {part: np.sort(np.concatenate(chosen)) for part, chosen in parts.items()}


def split_parts(options: SplitOptions, train_labels: Array, test_labels: Array) -> dict[str, Array]:
    """Which samples each part has -> dict part -> (index into the training or test samples, ascending)."""
    rng, chosen = np.random.default_rng(options.split_seed), []
    for name, labels in (("train_images", train_labels), ("test_images", test_labels)):
        count = getattr(options, name)
        if count is not None and count > len(labels):
            raise ValueError(f"{name} must be at most {len(labels)}, the samples there are, not {count}")
        chosen.append(np.arange(len(labels)) if count is None else stratified(labels, count, rng)[0])
    count = share(len(chosen[0]), options.validation)
    if count >= len(chosen[0]):
        raise ValueError(f"validation must leave samples for training, but {options.validation:g} of {len(chosen[0])} leaves none")
    validation, train = stratified(train_labels[chosen[0]], count, rng)
    return {"train": chosen[0][train], "validation": chosen[0][validation], "test": chosen[1]}


def describe_split(options: SplitOptions, parts: Mapping[str, Array], rule: str) -> str:
    """The sentence on the split for ``about``; ``rule`` is where training and test part of the published files come from."""
    taken = [f"{getattr(options, name)} {what} images drawn by seed {options.split_seed}"
             for name, what in (("train_images", "training"), ("test_images", "test")) if getattr(options, name)]
    rule = rule if options.official else "that of the files, which are not the published ones"
    return (f"{rule}; validation {options.validation:g} of the training images, stratified, seed {options.split_seed}"
            + "".join(f"; {sentence}" for sentence in taken)
            + (": " + ", ".join(f"{part} {len(parts[part])}" for part in PARTS)))
