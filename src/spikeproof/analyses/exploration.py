"""Which bits a trained network of a study needs (Q-SpiNN): its search, front and choice, in the report."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ..exploration import PARAMETERS, ExplorationOptions
from .base import NetworkNames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ..annotations import Json, Say
    from ..architectures.base import Architecture
    from ..datasets.base import PreparedData
    from ..models import CodeNetwork, FloatNetwork
    from ..neurons.base import Neuron

    Row = dict[str, Json]

__all__ = ["Exploration"]


class Explored(NetworkNames):
    """A trained network by the names of its entries; with a quantizer (and pruner), the quantized one."""
    quantizer: str = "float"
    pruner: str = "none"


class Exploration:
    """Candidates of a trained network, quantized without training on, as integer networks on validation images. The front are those
    that no other beats in accuracy and memory; what is chosen has the largest benefit within the bounds, accuracy minus ``mu``
    times the share of the memory. The front alone is evaluated on the test part.
    """
    class Options(ExplorationOptions):
        kind: Literal["exploration"]
        network: Explored
        jobs: int = Field(1, ge=1, le=1000)

        @model_validator(mode="after")
        def _one_network(self) -> Self:
            if self.strategy != "grid" and (self.jobs > 1 or len(self.network.seeds) > 1):
                raise ValueError(f"jobs and seeds must be one for strategy {self.strategy}, which goes from candidate to candidate")
            return self

        @property
        def space(self) -> ExplorationOptions:
            """The search alone, as :class:`ExplorationOptions`."""
            return ExplorationOptions(**self.model_dump(include=set(ExplorationOptions.model_fields)))

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self, architecture: Architecture, neuron: Neuron) -> None:
        """ValueError where such networks cannot be explored."""
        if architecture.boxes or neuron.activation != "spike":
            raise ValueError("exploration wants spiking networks that decide classes")

    def run(self, say: Say = print, data: PreparedData | None = None, models: Sequence[FloatNetwork | CodeNetwork] = (),
            found: list[list[Row]] | None = None) -> dict[str, Json]:
        """Quantities of the network that was chosen: ``accuracy`` and ``loss`` (test, percent and points), ``kbit``, ``times`` less
        than full precision, ``benefit``; ``accuracy_float``; and of the smallest of the front whose validation accuracy is within
        1 and 2 points, ``times_within_1``, ``loss_within_1``, and so on: None where there is none.

        Parameters
        ----------
        data : PreparedData
        models : list of FloatNetwork or CodeNetwork
        found : rows of each model, where jobs have made them
        """
        from tqdm import tqdm

        from ..exploration import explore, within
        assert data is not None
        with tqdm(desc="exploration", unit="candidate", mininterval=1) as bar:
            result = explore(list(models), data, self.options.space, found, lambda row: bar.update(),
                             lambda front: tqdm(front, desc="front", unit="network", mininterval=1))
        full, front = 100 * result["test_accuracy_float"], result["front"]
        best = None if result["chosen"] is None else front[result["chosen"]]

        def told(row: Row | None, suffix: str = "") -> dict[str, float | None]:
            if row is None:
                return dict.fromkeys(f"{name}{suffix}" for name in ("accuracy", "loss", "kbit", "times", "benefit"))
            reached = 100 * row["test_accuracy"]
            return {f"accuracy{suffix}": reached, f"loss{suffix}": full - reached, f"kbit{suffix}": row["memory_bits"] / 1000,
                    f"times{suffix}": result["float_bits"] / row["memory_bits"], f"benefit{suffix}": row["benefit"]}
        quantities = {"accuracy_float": full, **told(best)}
        for points in (1, 2):
            near = [row for row in front if within(row, result["accuracy_float"], points)]
            quantities |= told(near[0] if near else None, f"_within_{points}")
        said = f"{len(result['candidates'])} candidates, {len(front)} on the front"
        if best is not None:
            said += f"; chosen: {quantities['times']:.2f} times less memory, {quantities['loss']:+.2f} points lost"
        say(said)
        return {"quantities": quantities, **result}

    @staticmethod
    def figures(result: dict[str, Json]) -> list[tuple[str, str, str]]:
        """(title, caption, SVG): accuracy over memory."""
        from ..plots import exploration
        networks = "one network" if result["networks"] == 1 else f"means of {result['networks']} networks"
        return [("Accuracy and memory", f"Validation accuracy of {len(result['candidates'])} candidates, {networks}.",
                 exploration(result))]

    @staticmethod
    def tables(result: dict[str, Json]) -> list[tuple[str, list[str], list[list[Json]]]]:
        """(title, columns, rows) for the report."""
        def spread(row: Row, name: str) -> str:
            deviation = row[f"{name}_sd"]
            return f"{100 * row[name]:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")

        def bits(row: Row) -> list[str]:
            return ["-" if row[name] is None else str(row[name]) for name in PARAMETERS]

        def core(row: Row, what: str) -> str:
            return "; ".join(f"{of['lanes']}: {of[what]:,}" for of in row["hardware"])
        rows = [[("★ " if n == result["chosen"] else "") + str(n + 1), *bits(row), row["rounding"],
                 f"{row['memory_bits'] / 1000:.1f}", f"{result['float_bits'] / row['memory_bits']:.2f}", spread(row, "accuracy"),
                 spread(row, "test_accuracy"), f"{row['benefit']:.4f}", core(row, "cycles"), core(row, "lut_estimate")]
                for n, row in enumerate(result["front"])]
        return [(f"Front of {len(result['candidates'])} candidates; in full precision {100 * result['test_accuracy_float']:.2f} % "
                 f"of the test part, {result['float_bits'] / 1000:.1f} kbit",
                 ["", *PARAMETERS, "rounding", "kbit in the RTL", "times less", "validation, %", "test, %", "benefit",
                  "cycles by lanes", "LUT (estimated) by lanes"], rows)]
