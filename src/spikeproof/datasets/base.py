"""Prepared data: what every dataset becomes, and how it lies on disk."""
from dataclasses import dataclass

import numpy as np

from ..files import CorruptFile, read_container, write_container
from ..network import InputSpec

__all__ = ["PARTS", "PreparedData", "load_prepared", "save_prepared", "split_indices"]

KIND = "spikeproof prepared data"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PreparedData:
    """Integer input codes and labels of three parts.

    Members
    -------
    input : InputSpec
    steps : int, time steps per image
    classes : int
    frames : dict part -> uint8 or uint16 [B, H, W, C] (constant input) or [B, T, H, W, C], codes
    labels : dict part -> int64 [B]
    about : dict, source, licence, split rule
    """
    input: InputSpec
    steps: int
    classes: int
    frames: dict
    labels: dict
    about: dict


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


def save_prepared(path, data):
    """Write prepared data atomically; returns its digest."""
    description = {"input": data.input.to_dict(), "steps": data.steps, "classes": data.classes, "about": data.about}
    tensors = {f"{part}.{what}": getattr(data, what)[part] for part in PARTS for what in ("frames", "labels")}
    return write_container(path, KIND, description, tensors)


def load_prepared(path):
    """Read prepared data -> (PreparedData, digest).

    Raises
    ------
    FileNotFoundError, CorruptFile
        If the file is absent, truncated, altered, or holds codes or labels out of range.
    """
    remedy = "delete it and run the prepare stage again"
    description, tensors, digest = read_container(path, KIND, remedy)
    try:
        spec = InputSpec.from_dict(description["input"])
        data = PreparedData(spec, description["steps"], description["classes"],
                            {part: tensors[f"{part}.frames"] for part in PARTS},
                            {part: tensors[f"{part}.labels"] for part in PARTS}, description["about"])
        shape = spec.shape if spec.constant else (data.steps, *spec.shape)
        for part in PARTS:
            frames, labels = data.frames[part], data.labels[part]
            if frames.shape != (len(labels), *shape) or frames.max() > spec.max_code \
                    or labels.min() < 0 or labels.max() >= data.classes:
                raise ValueError(f"the {part} part has frames or labels out of range")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} holds no valid prepared data ({error}): {remedy}") from None
    return data, digest
