"""Configuration: typed, checked without torch, errors in one sentence that names file and key.

``config/config.yaml`` holds named entries; a study lists runs as chains of those names. Paths are built from
the names, so runs that share a stage share its files.
"""
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from .catalog import CATALOG, load, module_of, unknown
from .options import Options

__all__ = ["Config", "ConfigError", "HardwareOptions", "Run", "load_study", "parse_config"]

FLOAT, NO_PRUNER = "float", "none"


class ConfigError(ValueError):
    """A configuration that cannot be run; one sentence."""


class HardwareOptions(Options):
    """How the core is built and on what it is tried."""
    lanes: int = Field(16, ge=1, le=256)
    updaters: int = Field(1, ge=1, le=64)
    device: Literal["25k", "45k", "85k"] = "25k"
    placer_seed: int = Field(1, ge=0)
    target_mhz: int = Field(100, ge=1, le=1000)


class RunNames(Options):
    """The names of one run's chain; what is left out comes from the study's defaults."""
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    quantizer: str
    pruner: str = NO_PRUNER
    seeds: list[int] = Field([0], min_length=1)


class StudyOptions(Options):
    """A study: what it is called and what it runs."""
    title: str
    about: str = ""
    scaled_down: bool = False
    defaults: dict = {}
    runs: dict = Field(min_length=1)


@dataclass(frozen=True)
class Run:
    """One run with one seed, by names; and where its stages put their files."""
    name: str
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    quantizer: str
    pruner: str
    seed: int

    @property
    def is_float(self):
        return self.quantizer == FLOAT

    @property
    def data(self):
        return f"results/data/{self.dataset}.safetensors"

    @property
    def base(self):
        """Folder of the pre-trained network."""
        return f"results/models/{self.dataset}/{self.architecture}/{self.neuron}/{self.pretraining}/s{self.seed}"

    @property
    def folder(self):
        """Folder of the compressed network and all that is made of it."""
        return f"{self.base}/{self.quantizer}/{self.pruner}"

    @property
    def results(self):
        """Result files of the run, by stage."""
        stages = {"evaluate": "evaluate.json"}
        if not self.is_float:
            stages |= {"export": "export.json", "simulate": "equivalence.json", "synthesize": "synthesis.json"}
        return {stage: f"{self.folder}/{file}" for stage, file in stages.items()}

    @property
    def histories(self):
        """Training histories of the run, by stage."""
        found = {"pretrain": f"{self.base}/pretrain.json"}
        if not self.is_float:
            found["quantize"] = f"{self.base}/{self.quantizer}/quantize.json"
            if self.pruner != NO_PRUNER:
                found["prune"] = f"{self.folder}/prune.json"
        return found


def _sentence(error, where, fields):
    """The first error of a pydantic ValidationError as one sentence."""
    first = error.errors(include_url=False)[0]
    key = (where + ("" if where.endswith(" ") else ".") + ".".join(str(part) for part in first["loc"])).rstrip(". ")
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(first["loc"][-1]), fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(sorted(fields))}"
        return f"{key} is not a known key; {hint}"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "value_error":
        return f"{key}: {message}" if first["loc"] else f"{where}: {message}"
    message = message.replace("Dictionary should", "must").replace("List should", "must").replace(" after validation", "")
    return f"{key} {message}" if ", not " in message else f"{key} {message}, not {first['input']!r}"


def _all_fields(model):
    """Names of all fields of a model and of the models in it."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            names |= _all_fields(field.annotation)
    return names


def _validate(model, value, where):
    if not isinstance(value, dict):
        raise ConfigError(f"{where.rstrip(': ')} must be a mapping of keys to values, not {value!r}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(_sentence(error, where, _all_fields(model))) from None


@dataclass(frozen=True)
class Config:
    """Checked configuration: the parsed entries (Options) of each section, and the hardware."""
    entries: dict
    hardware: HardwareOptions

    def entry(self, section, name):
        """The entry of a section as plain data, for a stage's parameters."""
        return self.entries[section][name].model_dump()

    def modules(self, section, name):
        """Modules that implement an entry, for the stage's code digest."""
        return [module_of(section, self.entries[section][name].kind)]


def parse_config(raw, where="config"):
    """Check a whole configuration (plain data) -> Config.

    Raises
    ------
    ConfigError
        At the first unknown key or name, missing key, or value out of range.
    """
    known = {*CATALOG, "hardware", "study"}
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where}: " + unknown("section", key, known))
    entries = {}
    for section in CATALOG:
        entries[section] = {}
        for name, value in (raw.get(section) or {}).items():
            at = f"{where}: {section}.{name}"
            if not isinstance(value, dict) or "kind" not in value:
                raise ConfigError(f"{at}.kind is missing: it must be one of {', '.join(CATALOG[section])}")
            if value["kind"] not in CATALOG[section]:
                raise ConfigError(f"{at}: " + unknown("kind", value["kind"], CATALOG[section]))
            if name in (FLOAT, NO_PRUNER):
                raise ConfigError(f"{at}: the names {FLOAT!r} and {NO_PRUNER!r} are reserved")
            entries[section][name] = _validate(load(section, value["kind"]).Options, value, at)
    return Config(entries, _validate(HardwareOptions, raw.get("hardware") or {}, f"{where}: hardware"))


def read_yaml(path):
    """YAML file -> plain data; ConfigError where it is absent or no YAML."""
    path = Path(path)
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.yaml"))
        near = get_close_matches(path.stem, others, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{path} does not exist; {path.parent} has {', '.join(others) or 'no YAML files'}{hint}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def load_study(path, config):
    """Study file -> (StudyOptions, tuple of Run), every name checked against the configuration.

    Raises
    ------
    ConfigError
        If a name is unknown, a key misspelt, or a chain cannot be run.
    """
    study = _validate(StudyOptions, read_yaml(path), f"{path}: ")
    runs = []
    for name, given in study.runs.items():
        where = f"{path}: runs.{name}"
        if not str(name).replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{where}: a run's name must be letters, digits, - and _, not {name!r}")
        names = _validate(RunNames, {**study.defaults, **(given or {})}, where)
        chosen = names.model_dump(exclude={"seeds"})
        for field, section in (("dataset", "datasets"), ("architecture", "architectures"), ("neuron", "neurons"),
                               ("pretraining", "pretraining"), ("quantizer", "quantizers"), ("pruner", "pruners")):
            extra = {"quantizer": [FLOAT], "pruner": [NO_PRUNER]}.get(field, [])
            known = [*config.entries[section], *extra]
            if chosen[field] not in known:
                raise ConfigError(f"{where}.{field}: " + unknown(field, chosen[field], known))
        if chosen["quantizer"] == FLOAT and chosen["pruner"] != NO_PRUNER:
            raise ConfigError(f"{where}.pruner must be 'none' for a float run, not {chosen['pruner']!r}")
        for seed in names.seeds:
            if seed < 0:
                raise ConfigError(f"{where}.seeds must be 0 or more, not {seed}")
            runs.append(Run(name=str(name), seed=seed, **chosen))
    return study, tuple(runs)


