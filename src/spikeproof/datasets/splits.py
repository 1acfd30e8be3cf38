"""Which samples each part has: stratified, seeded draws."""
import numpy as np
from pydantic import Field

from ..options import Options
from .base import PARTS

__all__ = ["SplitOptions", "describe_split", "split_indices", "split_parts", "stratified"]


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


def stratified(labels, fraction, rng):
    """Indices of a part of each class, drawn by a seeded permutation -> (chosen, others), ascending.

    Parameters
    ----------
    labels : int array [N]
    fraction : of each class, rounded to whole samples
    rng : numpy Generator
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[:round(len(members) * fraction)]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def split_indices(labels, test, validation, seed):
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
    parts = {part: [] for part in PARTS}
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        first, second = round(len(members) * test), round(len(members) * (test + validation))
        for part, chosen in zip(("test", "validation", "train"), np.split(members, [first, second])):
            parts[part].append(chosen)
    return {part: np.sort(np.concatenate(chosen)) for part, chosen in parts.items()}


def _drawn(labels, count, rng, what):
    """Indices of about ``count`` samples, drawn from each class by its share; all for None."""
    if count is None:
        return np.arange(len(labels))
    if count > len(labels):
        raise ValueError(f"{what} must be at most {len(labels)}, the images there are, not {count}")
    order = rng.permutation(len(labels))
    # The k-th image of a class of n stands at (k + 1/2) / n: any beginning of that order has all classes in proportion.
    place, sizes = np.empty(len(labels)), np.bincount(labels)
    seen = np.zeros_like(sizes)
    for index in order:
        place[index] = (seen[labels[index]] + 0.5) / sizes[labels[index]]
        seen[labels[index]] += 1
    return np.sort(order[np.argsort(place[order], kind="stable")][:count])


def split_parts(options, train_labels, test_labels):
    """Which samples each part has -> dict part -> (index into the training or test samples, ascending)."""
    rng = np.random.default_rng(options.split_seed)
    chosen = _drawn(train_labels, options.train_images, rng, "train_images")
    validation, train = stratified(train_labels[chosen], options.validation, rng)
    return {"train": chosen[train], "validation": chosen[validation],
            "test": _drawn(test_labels, options.test_images, rng, "test_images")}


def describe_split(options, parts, rule):
    """The sentence on the split for ``about``."""
    taken = [f"{getattr(options, name)} {what} images drawn by seed {options.split_seed}"
             for name, what in (("train_images", "training"), ("test_images", "test")) if getattr(options, name)]
    return (f"{rule}; validation {options.validation:g} of the training images, stratified, seed {options.split_seed}"
            + "".join(f"; {sentence}" for sentence in taken)
            + (": " + ", ".join(f"{part} {len(parts[part])}" for part in PARTS)))
