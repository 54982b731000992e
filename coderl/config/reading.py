"""How does a YAML file with overrides become a `RunConfig`? Nothing is ever auto-corrected: the first fault is an error."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from coderl.config.run import RunConfig
from coderl.errors import ConfigError


def find(name_or_path: str) -> Path:
    """The config file: a path, or the name of a shipped config such as "quickstart". Raises ConfigError."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("configs")))
    candidate = shipped / f"{path.name.removesuffix('.yaml')}.yaml"
    if candidate.is_file() and (path.parent == Path(".") or path.parent.name == "configs"):
        return candidate
    if (path / "config.yaml").is_file():
        raise ConfigError(f"config {name_or_path!r}: is the folder of a run; name its config: {path / 'config.yaml'}")
    names = sorted(p.stem for p in shipped.glob("*.yaml"))
    close = difflib.get_close_matches(path.name.removesuffix(".yaml"), names, n=1)
    raise ConfigError(
        f"config {name_or_path!r}: no such file, and not a shipped config ({', '.join(names)})"
        f"{f'; did you mean {close[0]!r}?' if close else ''}"
    )


def load(name_or_path: str, overrides: list[str] | None = None) -> RunConfig:
    """Read, override, validate. Raises ConfigError with one line: the key, the fault, the remedy."""
    path = find(name_or_path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of settings at the top, found {type(raw).__name__}")
    for override in overrides or []:
        apply_override(raw, override)
    return parse(raw, origin=str(path))


def parse(raw: dict[str, Any], origin: str = "config") -> RunConfig:
    """Validate a mapping. Raises ConfigError for the first fault found."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one `key=value`, e.g. "grpo.steps=20", in a mapping. Raises ConfigError."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write key=value, e.g. grpo.steps=20")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f'override {override!r}: the value is not valid YAML; texts in brackets want quotes, as in ["a?b"]'
        ) from error
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-5 as a string
            value = float(value)
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
        node = child
    node[leaf] = value


def _explain(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {where!r}{_nearest(fault['loc'])}"
    if fault["type"] == "missing":
        return f"{where!r} is missing: add it"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}, got {fault['input']!r}" if where else message


def _nearest(location: tuple[int | str, ...]) -> str:
    section: Any = RunConfig
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    names = list(section.model_fields)
    if close := difflib.get_close_matches(str(location[-1]), names, n=1):
        return f": did you mean {close[0]!r}?"
    if elsewhere := [path for path in paths(RunConfig) if path.split(".")[-1] == location[-1]]:
        elsewhere.sort(key=lambda path: path.split(".")[0] != location[0])  # its own section first
        return f" here: did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    return f": valid keys here are {', '.join(names)}"


def paths(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a section and of those in it, e.g. grpo.optimizer.learning_rate."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        for option in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from paths(option, f"{prefix}{name}.")
