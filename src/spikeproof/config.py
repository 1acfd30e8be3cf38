"""Configuration: typed, checked without torch, errors in one sentence that names file and key.

``config/config.yaml`` holds named entries; a study lists runs as chains of those names. Paths are built from
the names, so runs that share a stage share its files.
"""
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from .architectures.shapes import with_currents
from .catalog import CATALOG, load, module_of, unknown
from .options import Options
from .pretraining.base import Pretraining

__all__ = ["Config", "ConfigError", "HardwareOptions", "Run", "analysis_file", "data_file", "load_study", "make", "modules_of",
           "parse_config", "parse_entry", "plain_name", "read_yaml", "smoke_config", "validate", "with_entries"]

FLOAT, NO_PRUNER = "float", "none"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: Folders of results/ that are not studies.
RESERVED_STUDIES = ("analyses", "data", "grids", "logs", "models", "parts", "points", "reference")
#: Field of a run -> section of the configuration.
SECTION_OF = {"dataset": "datasets", "architecture": "architectures", "neuron": "neurons", "pretraining": "pretraining",
              "quantizer": "quantizers", "pruner": "pruners"}


class ConfigError(ValueError):
    """A configuration that cannot be run; one sentence."""


class HardwareOptions(Options):
    """How the core is built and on what it is tried."""
    lanes: int = Field(16, ge=1, le=256)
    updaters: int = Field(1, ge=1, le=64)
    fold: Literal["none", "all"] = "none"
    device: Literal["auto", "25k", "45k", "85k", "up5k"] = "auto"
    placer_seed: int = Field(1, ge=0)
    target_mhz: int = Field(100, ge=1, le=1000)
    bundle_images: int = Field(4, ge=1)


def data_file(dataset):
    """The prepared data of a dataset."""
    return f"results/data/{dataset}.safetensors"


def analysis_file(name):
    """The result of an analysis."""
    return f"results/analyses/{name}.json"


class MachineOptions(Options):
    """How a study is run here: where the datasets' own files are (default: environment variable SPIKEPROOF_DATA_DIR, else data),
    whether absent ones may be downloaded into that folder, the device that trains (SPIKEPROOF_DEVICE, else cpu; on cuda, trained
    weights differ in their last bits), and whether only to show that it runs."""
    data_dir: str | None = Field(None, min_length=1)
    download: bool = True
    device: str | None = None
    smoke: bool = False

    @field_validator("device")
    @classmethod
    def _known_device(cls, value):
        if value is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            raise ValueError(f"must be cpu, cuda, or cuda:1 for the second of several, not {value!r}")
        return value

    @field_validator("download", "smoke", mode="before")
    @classmethod
    def _as_on_the_command_line(cls, value):
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower(), value)


def smoke_config(raw):
    """The same configuration (plain data) with every training cut to two optimizer steps of eight samples.

    Files of datasets need not be the published ones.
    """
    def smaller(section, value):
        kind = value.get("kind") if isinstance(value, dict) else None
        fields = load(section, kind).Options.model_fields if kind in CATALOG[section] else ()
        if "training" in fields:
            trained = value.get("training", {})
            value = {**value, "training": {**trained, "epochs": min(trained.get("epochs", 1), 1), "max_steps": 2, "batch_size": 8}}
        if "first" in fields and isinstance(value.get("first"), dict):
            value = {**value, "first": smaller(section, value["first"])}
        if section == "pretraining" and "weights" in fields:         # a smoke run has a folder of its own
            value = {**value, "weights": str(Path(value["weights"]).resolve())}
        if "official" in fields:
            value = {**value, "official": False}
        if "train_images" in fields:
            value = {**value, "train_images": None, "test_images": None}
        return value
    return {key: {name: smaller(key, value) for name, value in given.items()}
            if key in CATALOG and isinstance(given, dict) else given for key, given in raw.items()}


def _cores_of(value):
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
    defaults: dict = {}
    runs: dict = {}
    analyses: list[str] = []
    entries: dict = {}

    @model_validator(mode="after")
    def _has_something(self):
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
    def is_float(self):
        return self.quantizer == FLOAT

    @property
    def data(self):
        return data_file(self.dataset)

    @property
    def base(self):
        """Folder of the pre-trained network."""
        return f"results/models/{self.dataset}/{self.architecture}/{self.neuron}/{self.pretraining}/s{self.seed}"

    @property
    def folder(self):
        """Folder of the compressed network and all that is made of it."""
        return f"{self.base}/{self.quantizer}/{self.pruner}"

    @property
    def model(self):
        """The model that is evaluated: pruned, quantized or in full precision."""
        if self.is_float:
            return f"{self.base}/pretrain.safetensors"
        if self.pruner == NO_PRUNER:
            return f"{self.base}/{self.quantizer}/quantize.safetensors"
        return f"{self.folder}/prune.safetensors"

    @property
    def bundle(self):
        """Folder of the core for hardware engineers."""
        return f"{self.folder}/rtl"

    @property
    def results(self):
        """Result files of the run, by stage."""
        stages = {"evaluate": "evaluate.json"}
        if not self.is_float:
            stages |= {"export": "export.json"}
            if self.hardware:
                stages |= {"simulate": "equivalence.json", "synthesize": "synthesis.json"}
        return {stage: f"{self.folder}/{file}" for stage, file in stages.items()}

    @property
    def files(self):
        """What a report of the run rests on: data, models, results, and the folder of the core."""
        found = {self.data, f"{self.base}/pretrain.safetensors", self.model, *self.results.values(), *self.histories.values()}
        if not self.is_float:
            found |= {f"{self.base}/{self.quantizer}/quantize.safetensors", f"{self.folder}/network.safetensors"}
            if self.hardware:
                found.add(f"{self.folder}/core")
        return sorted(found)

    @property
    def histories(self):
        """Training histories of the run, by stage."""
        found = {"pretrain": f"{self.base}/pretrain.json"}
        if not self.is_float:
            found["quantize"] = f"{self.base}/{self.quantizer}/quantize.json"
            if self.pruner != NO_PRUNER:
                found["prune"] = f"{self.folder}/prune.json"
        return found


def _fields_at(model, path):
    """Names of the fields that the (nested) model at a path of keys and positions has."""
    path = list(path)
    while path:
        field = model.model_fields.get(path.pop(0))
        inner = None if field is None else field.annotation
        if get_origin(inner) in (dict, list):                       # of models: the next key, or position, picks one
            inner = get_args(inner)[-1]
            path = path[1:]
        if not (isinstance(inner, type) and issubclass(inner, Options)):
            break
        model = inner
    return sorted(model.model_fields)


def _sentence(error, where, model):
    """The first error of a pydantic ValidationError as one sentence."""
    errors = error.errors(include_url=False)
    # A misspelt key is what is wrong where the right one is missing too.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key = (where + ("" if where.endswith(" ") else ".") + ".".join(str(part) for part in first["loc"])).rstrip(". :")
    if first["type"] == "extra_forbidden":
        fields = _fields_at(model, first["loc"][:-1])
        near = get_close_matches(str(first["loc"][-1]), fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(fields)}"
        return f"{key} is not a known key; {hint}"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "value_error":
        return f"{key}: {message}"
    message = message.replace("Dictionary should", "must").replace("List should", "must").replace(" after validation", "")
    sentence = f"{key} {message}" if ", not " in message else f"{key} {message}, not {first['input']!r}"
    if first["type"] == "float_type" and isinstance(first["input"], str):
        try:
            sentence += f"; write it as {float(first['input'])!r}" if math.isfinite(float(first["input"])) else ""
        except ValueError:
            pass
    return sentence


def _mapping(value, where):
    if not isinstance(value, dict):
        raise ConfigError(f"{where.rstrip(': ')} must be a mapping of keys to values, not {value!r}")
    return value


def plain_name(name, where):
    """Names become folders and arguments, so they are plain."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name must be letters, digits, - and _, and start with a letter or digit, not {name!r}")
    return name


def validate(model, value, where):
    """A pydantic model from plain data; ConfigError with one sentence where it does not fit."""
    try:
        return model.model_validate(_mapping(value, where))
    except ValidationError as error:
        raise ConfigError(_sentence(error, where, model)) from None


def parse_entry(section, value, where):
    """One configuration entry (plain data with a ``kind``) -> its Options.

    Raises
    ------
    ConfigError
        If the kind is missing or unknown, a key is unknown or missing, or a value is out of range.
    """
    kind = _mapping(value, where).get("kind")
    if kind is None:
        raise ConfigError(f"{where}.kind is missing: it must be one of {', '.join(CATALOG[section])}")
    if not isinstance(kind, str) or kind not in CATALOG[section]:
        raise ConfigError(f"{where}: " + unknown("kind", kind, CATALOG[section]))
    return validate(load(section, kind).Options, value, where)


def modules_of(section, entry):
    """Modules that implement an entry (Options), and one that it holds."""
    inner = getattr(entry, "first", None)
    return [module_of(section, entry.kind), *([] if inner is None else [module_of(section, inner["kind"])])]


def make(section, entry):
    """The object of a configuration entry (plain data); ConfigError where the entry is not valid."""
    options = parse_entry(section, entry, section)
    return load(section, options.kind)(options)


@dataclass(frozen=True)
class Config:
    """Checked configuration: the parsed entries (Options) of each section, the hardware, and where data come from."""
    entries: dict
    hardware: HardwareOptions
    machine: MachineOptions

    def entry(self, section, name):
        """The entry of a section as plain data, for a stage's parameters."""
        return self.entries[section][name].model_dump()

    def check_chain(self, names):
        """ConfigError where entries do not fit each other: layers on the dataset's images and classes, neurons, trainings.

        Parameters
        ----------
        names : dict field of a run -> name of the entry
        """
        made = {}
        for field, section in SECTION_OF.items():
            if names[field] not in (FLOAT, NO_PRUNER):
                entry = self.entries[section][names[field]]
                made[field] = load(section, entry.kind)(entry)

        @contextmanager
        def naming(field, preposition, other):
            try:
                yield
            except ValueError as error:
                raise ConfigError(f"{field} {names[field]!r} {preposition} {other} {names[other]!r}: {error}") from None
        with naming("architecture", "on", "dataset"):
            spec, _, classes = made["dataset"].describe()
            boxes = made["architecture"].boxes
            if getattr(made["dataset"], "detection", False) != boxes:
                raise ValueError("the dataset has " + ("labels, and a detector wants boxes" if boxes else
                                                       "boxes, and this architecture decides classes: use kind yolo"))
            shapes = made["architecture"].layers(spec, classes)
        neuron = made["neuron"]
        if "quantizer" in made and neuron.activation == "spike":
            with naming("quantizer", "on", "architecture"):
                made["quantizer"].check(shapes, neuron)
        with naming("neuron", "in", "architecture"):
            neuron.check(shapes)
        if "pruner" in made:
            with naming("pruner", "on", "architecture"):
                made["pruner"].check(with_currents(shapes, neuron.synapses(shapes)), neuron)
        with naming("pretraining", "of", "neuron"):
            made["pretraining"].check(neuron, spec, shapes)
        if "quantizer" in made:
            with naming("quantizer", "for", "neuron"):
                made["pretraining"].check_quantizer(made["quantizer"], neuron, spec)
        if "pruner" in made:
            with naming("pruner", "for", "neuron"):
                Pretraining.check_training(made["pruner"].options.training, neuron, spec)
        for field in ("pretraining", "quantizer", "pruner"):
            training = getattr(made[field].options, "training", None) if field in made and boxes else None
            if training is not None:
                with naming(field, "for", "neuron"):
                    training.check_boxes(neuron)

    def check_analysis(self, name):
        """ConfigError where an analysis of trained networks cannot have its network (names that :meth:`check_chain` has taken)."""
        entry = self.entries["analyses"][name]
        parts = {field: self.entries[SECTION_OF[field]][getattr(entry.network, field)] for field in ("architecture", "neuron")}
        architecture, neuron = (load(SECTION_OF[field], part.kind)(part) for field, part in parts.items())
        try:
            load("analyses", entry.kind)(entry).check(architecture, neuron)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def analysis_inputs(self, name):
        """Files that an analysis of trained networks reads: the prepared data, and a model per seed; [] for others."""
        network = getattr(self.entries["analyses"][name], "network", None)
        if network is None:
            return []
        runs = [Run(name, seed=seed, **_chain_of(network)) for seed in network.seeds]
        return [runs[0].data, *(run.model for run in runs)]

    def analysis_parts(self, name):
        """Of an exploration that several jobs share: files of their rows, model after model; [] for others."""
        entry = self.entries["analyses"][name]
        jobs = getattr(entry, "jobs", 1)
        return [f"results/parts/{name}/{seed}-{part}.json" for seed in entry.network.seeds for part in range(1, jobs + 1)] \
            if jobs > 1 else []

    def modules(self, section, name):
        """Modules that implement an entry, for the stage's code digest."""
        return modules_of(section, self.entries[section][name])


def parse_config(raw, where="config"):
    """Check a whole configuration (plain data) -> Config.

    Raises
    ------
    ConfigError
        At the first unknown key or name, missing key, or value out of range.
    """
    known = {*CATALOG, "hardware", "study", "grid", *MachineOptions.model_fields}
    for key in _mapping(raw, where):
        if key not in known:
            raise ConfigError(f"{where}: " + unknown("section", key, known))
    entries = {}
    for section in CATALOG:
        entries[section] = {}
        for name, value in _mapping({} if raw.get(section) is None else raw[section], f"{where}: {section}").items():
            at = f"{where}: {section}.{name}"
            if name in (FLOAT, NO_PRUNER):
                raise ConfigError(f"{at}: the names {FLOAT!r} and {NO_PRUNER!r} are reserved")
            entries[section][plain_name(name, f"{where}: {section}")] = parse_entry(section, value, at)
    hardware = {} if raw.get("hardware") is None else raw["hardware"]
    machine = {key: raw[key] for key in MachineOptions.model_fields if key in raw}
    return Config(entries, validate(HardwareOptions, hardware, f"{where}: hardware"),
                  validate(MachineOptions, machine, f"{where}: "))


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand only once in a mapping."""

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":                 # <<: what it brings may be said again
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, str | int) and name in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", key.start_mark)
            keys.add(name if isinstance(name, str | int) else None)
        return super().construct_mapping(node, deep)


def read_yaml(path):
    """YAML file -> plain data; ConfigError where it is absent or no YAML."""
    path = Path(path)
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.yaml"))
        near = get_close_matches(path.stem, others, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{path} does not exist; {path.parent} has {', '.join(others) or 'no YAML files'}{hint}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except UnicodeDecodeError:
        raise ConfigError(f"{path} must be UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _beside(entry, path):
    """A pre-training whose file of weights lies beside the study: its path as seen from the working directory."""
    if "weights" in entry:
        found = (Path(path).parent / entry["weights"]).resolve()
        entry = {**entry, "weights": str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)}
    return {**entry, "first": _beside(entry["first"], path)} if isinstance(entry.get("first"), dict) else entry


def with_entries(raw, path):
    """The configuration (plain data) with the entries that a study file adds to it.

    Raises
    ------
    ConfigError
        If an entry is not valid, or has a name that the configuration has already.
    """
    study, raw = read_yaml(path), dict(raw)
    added = study.get("entries", {}) if isinstance(study, dict) else {}
    for section, entries in _mapping(added, f"{path}: entries").items():
        if section not in CATALOG:
            raise ConfigError(f"{path}: entries: " + unknown("section", section, CATALOG))
        present = raw.get(section) or {}
        for name, value in _mapping(entries, f"{path}: entries.{section}").items():
            if name in present:
                raise ConfigError(f"{path}: entries.{section}.{name}: the configuration has an entry of this name already")
            plain_name(name, f"{path}: entries.{section}")
            parse_entry(section, value, f"{path}: entries.{section}.{name}")
        if section == "pretraining":
            entries = {name: _beside(value, path) for name, value in entries.items()}
        raw[section] = {**present, **entries}
    return raw


def _chain_of(network):
    """The names of a network of an analysis as a run has them."""
    return {"quantizer": FLOAT, "pruner": NO_PRUNER, **network.model_dump(exclude={"seeds"})}


def _check_names(config, chosen, where):
    """ConfigError at the first name of a chain (dict field of a run -> name) that the configuration has not."""
    for field, section in SECTION_OF.items():
        extra = {"quantizer": [FLOAT], "pruner": [NO_PRUNER]}.get(field, [])
        known = [*config.entries[section], *extra]
        if chosen[field] not in known:
            raise ConfigError(f"{where}.{field}: " + unknown(field, chosen[field], known))


def load_study(path, config):
    """Study file -> (StudyOptions, tuple of Run), every name checked against the configuration.

    Raises
    ------
    ConfigError
        If a name is unknown, a key misspelt, or a chain cannot be run.
    """
    if Path(path).stem in RESERVED_STUDIES:
        raise ConfigError(f"{path}: a study must not be called {Path(path).stem!r}, which is a folder of results")
    plain_name(Path(path).stem, f"{path}: the file")
    study = validate(StudyOptions, read_yaml(path), f"{path}: ")
    for key in study.defaults:
        if key not in RunNames.model_fields:
            raise ConfigError(f"{path}: defaults: " + unknown("key", key, RunNames.model_fields))
    runs, chains = [], {}
    for name, given in study.runs.items():
        plain_name(name, f"{path}: runs")
        where = f"{path}: runs.{name}"
        names = validate(RunNames, {**study.defaults, **_mapping({} if given is None else given, where)}, where)
        chosen = names.model_dump(exclude={"seeds", "hardware"})
        cores = study.hardware if names.hardware is None else names.hardware
        _check_names(config, chosen, where)
        if chosen["quantizer"] == FLOAT and chosen["pruner"] != NO_PRUNER:
            raise ConfigError(f"{where}.pruner must be 'none' for a float run, not {chosen['pruner']!r}")
        activation = load("neurons", config.entries["neurons"][chosen["neuron"]].kind).activation
        if chosen["quantizer"] != FLOAT and activation != "spike":
            raise ConfigError(f"{where}.quantizer must be 'float' for neurons that do not spike ({chosen['neuron']!r}), "
                              f"not {chosen['quantizer']!r}")
        try:
            config.check_chain(chosen)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        for seed in names.seeds:
            if seed < 0:
                raise ConfigError(f"{where}.seeds must be 0 or more, not {seed}")
            chain = (*chosen.values(), seed)
            if chain in chains:
                raise ConfigError(f"{where}: seed {seed} is the same training as that of run {chains[chain]!r}")
            chains[chain] = str(name)
            built = seed == names.seeds[0] if cores == "first_seed" else cores
            runs.append(Run(name=str(name), seed=seed, hardware=built, **chosen))
    for name in study.analyses:
        if name not in config.entries["analyses"]:
            raise ConfigError(f"{path}: analyses: " + unknown("analysis", name, config.entries["analyses"]))
        network = getattr(config.entries["analyses"][name], "network", None)
        if network is not None:
            where = f"{path}: analyses: {name}.network"
            chosen = _chain_of(network)
            _check_names(config, chosen, where)
            try:
                config.check_chain(chosen)
                config.check_analysis(name)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
    return study, tuple(runs)
