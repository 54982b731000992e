"""By which principles does a model judge? A YAML file (Bai et al. 2022, arXiv:2212.08073); one for code is shipped."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from coderl.config.sections import Section
from coderl.errors import ConfigError


class Principle(Section):
    """What is good, how to ask what falls short of it, and how to ask for a better program."""

    name: str = Field(min_length=1)
    text: str = Field(min_length=1)
    critique: str = Field(min_length=1)
    revise: str = Field(min_length=1)


class Constitution(Section):
    """Principles, the weightiest first."""

    name: str = Field(min_length=1)
    principles: tuple[Principle, ...] = Field(min_length=1)

    @property
    def label(self) -> str:
        """Its name and a hash of what it says, e.g. "code@1f2e3d4c"."""
        return f"{self.name}@{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]}"


def read_constitution(path: Path | None) -> Constitution:
    """The constitution in a file; None: the shipped one for code. Raises ConfigError."""
    shipped = Path(str(resources.files("coderl.feedback"))) / "constitution.yaml"
    source = path or shipped
    try:
        raw = yaml.safe_load(source.read_text(encoding="utf-8"))
        return Constitution.model_validate(raw)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"constitution {source}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"constitution {source}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise ConfigError(
            f"constitution {source}: {where}: {fault['msg']}; it wants a name, and principles with name, text, critique, revise"
        ) from error
