"""What is configured: the values, and where each of them came from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

NOTHING: Mapping[Any, Any] = MappingProxyType({})
SECRET_LENGTH = 16  # bytes: what is shorter can be guessed

# Options that only code can set.
OBJECTS = ("tenant", "tenant_locator", "tenants", "zone_of", "error_reporters")


class Origin(msgspec.Struct, frozen=True):
    """The place that a value was written at, as a message and ``tenantjobs check`` show it."""

    place: str
    line: int | None = None
    column: int | None = None
    directory: str | None = None  # what relative paths are relative to; None: the working directory
    text: bool = False  # a text that stands for a number or a truth value, as environment variables are

    def __str__(self) -> str:
        marks = (mark for mark in (self.line, self.column) if mark is not None)
        return ":".join((self.place, *map(str, marks)))


class DrainSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[drain]``: the queue that workers go on performing from while jobs are enqueued to another."""

    adapter: str


class GateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[gate]``: jobs wait in the table of the adapter ``db``, and workers of ``adapter`` perform them.

    ``depth`` is how many jobs of a queue may wait in the broker and run, ``depths`` says it for single queues. A job
    that was not started ``lease`` seconds after it was published is published again.
    """

    adapter: str
    depth: Annotated[int, msgspec.Meta(ge=1)] = 16
    depths: dict[str, Annotated[int, msgspec.Meta(ge=1)]] = {}
    lease: Annotated[float, msgspec.Meta(gt=0)] = 60.0

    def depth_of(self, queue: str) -> int:
        """How many jobs of ``queue`` the broker may have."""
        return self.depths.get(queue, self.depth)


class SigningSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[signing]``: secrets that what travels is signed with, each written as ``"id:secret"``.

    The first one signs, all of them are accepted, so that a new one can be put in front while messages are on their
    way. ``mode``: ``"enforce"`` runs nothing without a good signature, ``"observe"`` signs and only warns, for a
    roll-out, ``"off"`` neither signs nor looks. ``remember``: for how many seconds a ledger, where there is one, keeps
    the ids of jobs that have ended, so that a message that comes again has no second effect; 0 keeps none.
    """

    keys: tuple[str, ...]
    mode: Literal["off", "observe", "enforce"] = "enforce"
    remember: Annotated[float, msgspec.Meta(ge=0)] = 30 * 86_400.0

    def __post_init__(self) -> None:
        ids = [key.partition(":")[0] for key in self.keys]
        for place, (key_id, secret) in enumerate(self.pairs(), start=1):
            if not _KEY_ID.fullmatch(key_id) or len(secret) < SECRET_LENGTH:
                raise ValueError(
                    f'keys: number {place} is not "id:secret", with an id of letters, digits, ".", "_" and "-", and a '
                    f"secret of {SECRET_LENGTH} bytes or more, as `openssl rand -base64 32` makes"
                )
        if not ids:
            raise ValueError('keys: there is none: write keys = ["2026-11:..."], or leave the section out')
        if len(set(ids)) < len(ids):
            raise ValueError(f"keys: the ids {', '.join(ids)} are not different")

    def __repr__(self) -> str:
        ids = [key_id for key_id, _ in self.pairs()]
        return f"SigningSettings(keys={ids}, mode={self.mode!r}, remember={self.remember!r})"

    def pairs(self) -> list[tuple[str, bytes]]:
        """Each key as its id and its secret."""
        split = [key.partition(":") for key in self.keys]
        return [(key_id, secret.encode()) for key_id, _, secret in split]


class EncryptionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``[encryption]``: where the keys come from that arguments are encrypted with.

    ``keys`` is ``"shop.keys:keyring"``, or in code the callable itself. It takes the id of a tenant, None for a job of
    no tenant, and returns keys of 32 bytes, the newest first; none, or a ``LookupError``, if the tenant has none.
    """

    keys: Any

    def __post_init__(self) -> None:
        if not callable(self.keys) and not (isinstance(self.keys, str) and _PATH.fullmatch(self.keys)):
            raise ValueError('keys: "module:name" of a function is wanted, as in "shop.keys:keyring", or the function')

    @property
    def names_keys(self) -> bool:
        """True if the function is named, and has to be imported."""
        return isinstance(self.keys, str)


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
    recurring: Annotated[str, msgspec.Meta(min_length=1)] = "config/recurring.yml"
    time_zone: Annotated[str, msgspec.Meta(min_length=1)] = "UTC"
    drain: DrainSettings | None = None
    gate: GateSettings | None = None
    signing: SigningSettings | None = None
    encryption: EncryptionSettings | None = None
    tenant: Any = None
    tenant_locator: Any = None
    tenants: Any = None
    zone_of: Any = None
    error_reporters: tuple[Any, ...] = ()
    sections: Mapping[str, Mapping[str, Any]] = NOTHING
    origins: Mapping[str, Origin] = NOTHING
    file: str | None = None

    def located(self, name: str) -> Path:
        """Where ``name``, as ``"config/queue.yml"``, lies: beside the file, else in the working directory."""
        return Path(os.path.dirname(self.file) if self.file else os.getcwd(), name)


# Sections that belong to no adapter.
CORE_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "drain": DrainSettings,
    "gate": GateSettings,
    "signing": SigningSettings,
    "encryption": EncryptionSettings,
}

_PATH = re.compile(r"[\w.]+:\w+")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]+")

OPTIONS = {
    field.name: field.type
    for field in msgspec.structs.fields(Settings)
    if field.name not in ("sections", "origins", "file", *CORE_SECTIONS)
}
DEFAULTS = {name: getattr(Settings(), name) for name in OPTIONS}
