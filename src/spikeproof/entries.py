"""Entries of a configuration: read, checked without torch, made; errors in one sentence that names file and key."""
from __future__ import annotations

import math
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_origin

import yaml
from pydantic import ValidationError

from .catalog import CATALOG, load, module_of, unknown
from .options import Options

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import Any, TypeVar

    from .annotations import Json, StrPath

    Model = TypeVar("Model", bound=Options)

    class EntryOptions(Options):
        """The options of an entry of the catalog: its kind, and fields of that kind."""
        kind: str

        def __getattr__(self, name: str) -> Any: ...

__all__ = ["NAME", "ConfigError", "make", "mapping", "modules_of", "parse_entry", "plain_name", "read_yaml", "validate"]

#: Most values of a configuration file.
LARGEST = 1_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ConfigError(ValueError):
    """A configuration that cannot be run; one sentence."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand only once in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str | int | None] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":                 # <<: what it brings may be said again
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, str | int) and name in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", key.start_mark)
            keys.add(name if isinstance(name, str | int) else None)
        return super().construct_mapping(node, deep)


def _size(value: Json, known: dict[int, float]) -> float:
    """How many values plain data has, those of an alias counted wherever it stands."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf                                  # of one that holds itself
        known[id(value)] = 1 + sum(_size(inner, known) for inner in (value.values() if isinstance(value, dict) else value))
    return known[id(value)]


def read_yaml(path: StrPath) -> Json:
    """YAML file -> plain data; ConfigError where it is absent or no YAML."""
    path = Path(path)
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob("*.yaml"))
        near = get_close_matches(path.stem, others, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{path} does not exist; {path.parent} has {', '.join(others) or 'no YAML files'}{hint}")
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        if _size(value, {}) > LARGEST:
            raise ConfigError(f"{path} says more than {LARGEST:,} values: aliases of aliases are too many")
        return value
    except UnicodeDecodeError:
        raise ConfigError(f"{path} must be UTF-8 text") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid YAML: lists or mappings in one another are too many") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _fields_at(model: type[Options], path: Sequence[str | int]) -> list[str]:
    """Names of the fields that the (nested) model at a path of keys and positions has."""
    left = list(path)
    while left:
        field = model.model_fields.get(str(left.pop(0)))
        inner = None if field is None else field.annotation
        if get_origin(inner) in (dict, list):                       # of models: the next key, or position, picks one
            inner = get_args(inner)[-1]
            left = left[1:]
        if not (isinstance(inner, type) and issubclass(inner, Options)):
            break
        model = inner
    return sorted(model.model_fields)


def _sentence(error: ValidationError, where: str, model: type[Options]) -> str:
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


def mapping(value: Json, where: str) -> dict[Any, Any]:
    """The value, which must be a mapping; else ConfigError."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where.rstrip(': ')} must be a mapping of keys to values, not {value!r}")
    return value


def plain_name(name: Json, where: str) -> str:
    """Names become folders and arguments, so they are plain."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name must be letters, digits, - and _, and start with a letter or digit, not {name!r}")
    return name


def validate(model: type[Model], value: Json, where: str) -> Model:
    """A pydantic model from plain data; ConfigError with one sentence where it does not fit."""
    try:
        return model.model_validate(mapping(value, where))
    except ValidationError as error:
        raise ConfigError(_sentence(error, where, model)) from None


def parse_entry(section: str, value: Json, where: str) -> EntryOptions:
    """One configuration entry (plain data with a ``kind``) -> its Options.

    Raises
    ------
    ConfigError
        If the kind is missing or unknown, a key is unknown or missing, or a value is out of range.
    """
    kind = mapping(value, where).get("kind")
    if kind is None:
        raise ConfigError(f"{where}.kind is missing: it must be one of {', '.join(CATALOG[section])}")
    if not isinstance(kind, str) or kind not in CATALOG[section]:
        raise ConfigError(f"{where}: " + unknown("kind", kind, CATALOG[section]))
    return validate(load(section, kind).Options, value, where)


def modules_of(section: str, entry: EntryOptions) -> list[str]:
    """Modules that implement an entry (Options), and one that it holds."""
    inner = getattr(entry, "first", None)
    return [module_of(section, entry.kind), *([] if inner is None else [module_of(section, inner["kind"])])]


def make(section: str, entry: Json) -> Any:
    """The object of a configuration entry (plain data); ConfigError where the entry is not valid."""
    options = parse_entry(section, entry, section)
    return load(section, options.kind)(options)
