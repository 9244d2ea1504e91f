"""What is configured: the values, and where each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

NOTHING: Mapping[Any, Any] = MappingProxyType({})

# Options that only code can set.
OBJECTS = ("tenant", "tenant_locator", "error_reporters")


class Origin(msgspec.Struct, frozen=True):
    """The place that a value was written at, as a message and ``tenantjobs check`` show it."""

    place: str
    line: int | None = None
    directory: str | None = None  # what relative paths are relative to; None: the working directory
    text: bool = False  # a text that stands for a number or a truth value, as environment variables are

    def __str__(self) -> str:
        return self.place if self.line is None else f"{self.place}:{self.line}"


class DrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[drain]``: the queue that workers go on performing from while jobs are enqueued to another."""

    adapter: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is configured, resolved from all layers.

    ``sections`` holds what belongs to the adapters as it was written; ``config.section`` makes it an adapter's own.
    ``origins`` says for ``"adapter"`` or ``"db.url"`` where the value came from, ``file`` which file was used.
    """

    adapter: str | None = None
    app: str | None = None
    tenancy: Literal["required", "optional", "observe", "none"] = "required"
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+$")] = "app"
    size_limit: Annotated[int, msgspec.Meta(gt=0)] = 1_048_576
    environment: Annotated[str, msgspec.Meta(min_length=1)] = "development"
    outbox: bool = False
    queue_prefix: str = ""
    drain: DrainSettings | None = None
    tenant: Any = None
    tenant_locator: Any = None
    error_reporters: tuple[Any, ...] = ()
    sections: Mapping[str, Mapping[str, Any]] = NOTHING
    origins: Mapping[str, Origin] = NOTHING
    file: str | None = None


OPTIONS = {
    field.name: field.type
    for field in msgspec.structs.fields(Settings)
    if field.name not in ("sections", "origins", "file", "drain")
}
DEFAULTS = {name: getattr(Settings(), name) for name in OPTIONS}
