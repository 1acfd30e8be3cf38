"""A network that was trained elsewhere: its weights from a file that ``spikeproof import`` wrote."""
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ..options import Options
from .base import Pretraining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..annotations import Array, Json, Say, StrPath
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork

__all__ = ["Imported", "WEIGHTS", "take_over"]

#: Kind of the container.
WEIGHTS = "spikeproof imported weights"


def take_over(model: FloatNetwork, tensors: Mapping[str, Array]) -> None:
    """Load imported weights (dict name -> array) into a FloatNetwork; RuntimeError where they do not fit.

    Initial membranes, which NIR does not have, stay zero.
    """
    import torch
    initial = {name: value for name, value in model.state_dict().items() if name.endswith(".initial")}
    model.load_state_dict({**initial, **{name: torch.from_numpy(value) for name, value in tensors.items()}})


class Imported(Pretraining):
    """Nothing is trained; the digest ties the weights to the study that was written beside them."""
    class Options(Options):
        kind: Literal["imported"]
        weights: str = Field(min_length=1)
        sha256: str

        @field_validator("sha256")
        @classmethod
        def _a_digest(cls, value: str) -> str:
            if not re.fullmatch("[0-9a-f]{64}", value):
                raise ValueError(f"must be a SHA-256, 64 hexadecimal digits, not {value!r}")
            return value

    options: Options

    def train(self, model: FloatNetwork, data: PreparedData, seed: int = 0, checkpoint: StrPath | None = None,
              context: Json = None, label: str = "", say: Say = print, device: str = "cpu") -> list[dict[str, Json]]:
        """Take the weights over, in place -> history of one entry: accuracies as they are.

        Raises
        ------
        ValueError
            If the file is not the one that was imported, or does not fit the network.
        FileNotFoundError, CorruptFile
            If it is absent, truncated or altered.
        """
        from ..files import read_container, sha256_file
        from ..training import accuracy, firing_rates
        path = self.options.weights
        _, tensors, _ = read_container(path, WEIGHTS, "import the network again")
        if sha256_file(path) != self.options.sha256:
            raise ValueError(f"{path} is not the file that was imported, its SHA-256 differs: import the network again")
        try:
            take_over(model, tensors)
        except RuntimeError as error:
            raise ValueError(f"{path} does not fit the network ({' '.join(str(error).split())}): import it again") from None
        rates = firing_rates(model, data, "validation")
        found = {part: accuracy(model, data, part) for part in ("train", "validation")}
        say(f"imported: {100 * found['train']:.1f} % of the training part right, nothing trained")
        return [{"epoch": 0, "loss": None, "train_accuracy": found["train"], "validation_accuracy": found["validation"],
                 "firing_rate": sum(float(of.mean()) for of in rates) / max(len(rates), 1), "learning_rate": 0.0}]
