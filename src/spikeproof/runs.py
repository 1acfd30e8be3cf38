"""Runs: chains of names, and where their stages put their files; studies list them."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .options import Options

if TYPE_CHECKING:
    from typing import Self

    from .analyses.base import NetworkNames
    from .annotations import Entry, Json

__all__ = ["FLOAT", "NO_PRUNER", "SECTION_OF", "Run", "RunNames", "StudyOptions", "analysis_file", "chain_of", "data_file"]

FLOAT, NO_PRUNER = "float", "none"
#: Field of a run -> section of the configuration.
SECTION_OF = {"dataset": "datasets", "architecture": "architectures", "neuron": "neurons", "pretraining": "pretraining",
              "quantizer": "quantizers", "pruner": "pruners"}


def data_file(dataset: str) -> str:
    """The prepared data of a dataset."""
    return f"results/data/{dataset}.safetensors"


def analysis_file(name: str) -> str:
    """The result of an analysis."""
    return f"results/analyses/{name}.json"


def _cores_of(value: Json) -> Json:
    if not isinstance(value, bool) and value != "first_seed":
        raise ValueError(f"must be true, false or first_seed, not {value!r}")
    return value


#: Of which seeds cores are built: of all, of the first one, or of none.
Cores = Annotated[bool | Literal["first_seed"], BeforeValidator(_cores_of)]


class RunNames(Options):
    """The names of one run's chain; what is left out comes from the study's defaults. ``hardware`` as of the study."""
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    quantizer: str
    pruner: str = NO_PRUNER
    seeds: list[int] = Field([0], min_length=1)
    hardware: Cores | None = None


class StudyOptions(Options):
    """A study: what it is called and what it runs: chains of trained networks, and analyses that need none.

    ``hardware`` says of what cores are built: of every quantized run and seed, of each run's first seed, or of none (a run may say
    otherwise for itself);
    ``simulated_images`` how many images of the test part each of them computes in simulation (all).
    ``entries`` adds to the sections of the configuration, for this study alone.
    """
    title: str
    about: str = ""
    scaled_down: bool = False
    hardware: Cores = True
    simulated_images: int | None = Field(None, ge=1)
    defaults: dict[Any, Any] = {}
    runs: dict[Any, Any] = {}
    analyses: list[str] = []
    entries: dict[Any, Any] = {}

    @model_validator(mode="after")
    def _has_something(self) -> Self:
        if not self.runs and not self.analyses:
            raise ValueError("runs or analyses must name something to do")
        return self


@dataclass(frozen=True)
class Run:
    """One run with one seed, by names; and where its stages put their files. ``hardware``: whether a core is built of it."""
    name: str
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    quantizer: str
    pruner: str
    seed: int
    hardware: bool = True

    @property
    def is_float(self) -> bool:
        return self.quantizer == FLOAT

    @property
    def data(self) -> str:
        return data_file(self.dataset)

    @property
    def base(self) -> str:
        """Folder of the pre-trained network."""
        return f"results/models/{self.dataset}/{self.architecture}/{self.neuron}/{self.pretraining}/s{self.seed}"

    @property
    def folder(self) -> str:
        """Folder of the compressed network and all that is made of it."""
        return f"{self.base}/{self.quantizer}/{self.pruner}"

    @property
    def model(self) -> str:
        """The model that is evaluated: pruned, quantized or in full precision."""
        if self.is_float:
            return f"{self.base}/pretrain.safetensors"
        if self.pruner == NO_PRUNER:
            return f"{self.base}/{self.quantizer}/quantize.safetensors"
        return f"{self.folder}/prune.safetensors"

    @property
    def bundle(self) -> str:
        """Folder of the core for hardware engineers."""
        return f"{self.folder}/rtl"

    @property
    def results(self) -> dict[str, str]:
        """Result files of the run, by stage."""
        stages = {"evaluate": "evaluate.json"}
        if not self.is_float:
            stages |= {"export": "export.json"}
            if self.hardware:
                stages |= {"simulate": "equivalence.json", "synthesize": "synthesis.json"}
        return {stage: f"{self.folder}/{file}" for stage, file in stages.items()}

    @property
    def files(self) -> list[str]:
        """What a report of the run rests on: data, models, results, and the folder of the core."""
        found = {self.data, f"{self.base}/pretrain.safetensors", self.model, *self.results.values(), *self.histories.values()}
        if not self.is_float:
            found |= {f"{self.base}/{self.quantizer}/quantize.safetensors", f"{self.folder}/network.safetensors"}
            if self.hardware:
                found.add(f"{self.folder}/core")
        return sorted(found)

    @property
    def histories(self) -> dict[str, str]:
        """Training histories of the run, by stage."""
        found = {"pretrain": f"{self.base}/pretrain.json"}
        if not self.is_float:
            found["quantize"] = f"{self.base}/{self.quantizer}/quantize.json"
            if self.pruner != NO_PRUNER:
                found["prune"] = f"{self.folder}/prune.json"
        return found


def chain_of(network: NetworkNames) -> Entry:
    """The names of a network of an analysis as a run has them."""
    return {"quantizer": FLOAT, "pruner": NO_PRUNER, **network.model_dump(exclude={"seeds"})}
