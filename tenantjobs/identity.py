"""Who a record is: a name that travels (``GlobalId``), and the locators that turn records into names and back."""

from __future__ import annotations

import re
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Protocol
from uuid import UUID

import msgspec

from tenantjobs.errors import ArgumentError, SerializationError

_SCHEME = "gid://"
_APP = re.compile(r"[A-Za-z0-9._-]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_ID = re.compile("[1-9A-Za-z][0-9A-Za-z_-]{0,34}")
_LONGEST_ID = 255


class GlobalId(msgspec.Struct, frozen=True):
    """The name of one record in any process of an application: ``gid://shop/Order/42``.

    A composite key has several parts (``gid://shop/Line/42/7``). Parts are percent-escaped in the text, so that any
    text is a key. ``ValueError`` for an application name with other than letters, digits, ``-``, ``_`` and ``.``,
    and for an empty part.
    """

    app: str
    model: str
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _APP.fullmatch(self.app):
            raise ValueError(
                f"{self.app!r} cannot be the application name of a GlobalId: use letters, digits, '-', '_' and '.'"
            )
        if not self.key or not all(_names_something(part) for part in (self.model, *self.key)):
            raise ValueError(
                f"model and key of a GlobalId are texts that are not empty, not {(self.model, *self.key)!r}"
            )

    @classmethod
    def parse(cls, text: str) -> GlobalId:
        """The ``GlobalId`` that is printed as ``text``; ``ValueError`` for what ``str()`` would not have written."""
        if not text.startswith(_SCHEME):
            raise ValueError(f"not a GlobalId: {text!r}; it looks like gid://app/Model/key")
        app, *parts = text.removeprefix(_SCHEME).split("/")
        if len(parts) < 2:
            raise ValueError(f"not a GlobalId: {text!r}; it looks like gid://app/Model/key")
        model, *key = (_escapes().unquote(part, errors="strict") for part in parts)
        parsed = cls(app, model, tuple(key))
        if str(parsed) != text:
            raise ValueError(f"not a GlobalId: {text!r} would be written {str(parsed)!r}")
        return parsed

    def __str__(self) -> str:
        return _SCHEME + "/".join((self.app, *(_escapes().quote(part, safe="") for part in (self.model, *self.key))))


class PendingRecord:
    """A record that gets its key with the next flush of the session it waits in."""

    __slots__ = ("record",)

    def __init__(self, record: object) -> None:
        self.record = record

    def resolve(self) -> GlobalId:
        """The name of the record, after the flush; ``SerializationError`` if it has no key even now."""
        found = identify(self.record)
        if isinstance(found, GlobalId):
            return found
        else:
            raise SerializationError(
                f"{_kind(self.record)} has no key: it gets one when its session is flushed, so keep it in the session "
                "until the commit, or name it after it is saved"
            )


class Locator(Protocol):
    """What knows one kind of records, for example all mapped classes of one SQLAlchemy registry."""

    def identify(self, record: object) -> GlobalId | PendingRecord | None:
        """The name of the record, or None if it is not of this kind.

        ``SerializationError`` if it is of this kind and has no identity: in no session, and never saved.
        """

    def model_of(self, cls: type) -> str | None:
        """The name that records of this class have in a ``GlobalId``, or None if they are not of this kind."""

    def knows(self, gid: GlobalId) -> bool:
        """Whether this locator is the one to ask for ``gid``. No I/O."""
        ...

    def locate(self, gid: GlobalId) -> object:
        """The record, loaded fresh; ``RecordGone`` or ``RecordUnavailable``."""

    async def alocate(self, gid: GlobalId) -> object:
        """As ``locate``, without blocking the event loop."""

    def tenant_of(self, record: object) -> str | None:
        """The canonical id of the tenant that owns the record, or None: not of this kind, or not of one tenant."""


_lock = Lock()
_locators: tuple[Locator, ...] = ()


def register(locator: Locator) -> None:
    """Ask ``locator`` too, after those that are there. Registering the same one again changes nothing."""
    global _locators
    with _lock:
        if locator not in _locators:
            _locators = (*_locators, locator)


def unregister(locator: Locator) -> None:
    """Ask ``locator`` no more. Nothing happens if it was not registered."""
    global _locators
    with _lock:
        _locators = tuple(known for known in _locators if known != locator)


def locators() -> tuple[Locator, ...]:
    """The registered locators, in the order in which they are asked."""
    return _locators


def identify(record: object) -> GlobalId | PendingRecord | None:
    """The name of a record, a ``PendingRecord`` if it waits for its key, None if no locator knows this kind of object.

    ``SerializationError`` for a record without identity: one that is in no session and was never saved.
    """
    for locator in _locators:
        found = locator.identify(record)
        if found is not None:
            return found
    return None


def model_of(cls: type) -> str | None:
    """The name that records of ``cls`` have in a ``GlobalId``, or None if no locator knows this class."""
    for locator in _locators:
        model = locator.model_of(cls)
        if model is not None:
            return model
    return None


def locate(gid: GlobalId) -> object:
    """The record of this name, loaded fresh.

    ``RecordGone`` if it does not exist any more, ``RecordUnavailable`` if its store did not answer, ``ArgumentError``
    if no locator of this process knows the name.
    """
    return _locator_of(gid).locate(gid)


async def alocate(gid: GlobalId) -> object:
    """As ``locate``, without blocking the event loop."""
    return await _locator_of(gid).alocate(gid)


def tenant_of(record: object) -> str | None:
    """The canonical id of the tenant that owns the record, or None if it belongs to no tenant."""
    for locator in _locators:
        tenant_id = locator.tenant_of(record)
        if tenant_id is not None:
            return tenant_id
    return None


def canonical_id(value: object) -> str:
    """The one text form of a tenant id: 42 and "42" are one tenant, UUIDs are lower case with dashes.

    ``ValueError`` for everything that could be mistaken for "no tenant" or "all tenants" (None, "", blanks, 0, "0",
    False), for text with blanks around it, control characters or more than 255 characters, and for other types.
    """
    if type(value) is str and _PLAIN_ID.fullmatch(value):
        return value  # most ids: nothing below would change or refuse them
    elif isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, UUID):
        text = str(UUID(int=value.int))
    elif isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > 4 * _LONGEST_ID:
            raise ValueError(f"a tenant id has at most {_LONGEST_ID} characters; this number is longer")
        text = int.__repr__(value)
    else:
        raise ValueError(f"a tenant id is a text, an integer or a UUID, not {_described(value)}")

    if not text or text.isspace() or text == "0":
        raise ValueError(f"{value!r} cannot be the id of a tenant; for work on all tenants use Current.system(reason)")
    if text != text.strip():
        raise ValueError(f"the tenant id {value!r} has blanks around it; remove them where it comes from")
    if len(text) > _LONGEST_ID:
        raise ValueError(f"a tenant id has at most {_LONGEST_ID} characters; {text[:40]!r}... has {len(text)}")
    if _UNSEEN.search(text):
        raise ValueError(f"the tenant id {value!r} contains control characters")
    return text.lower() if _UUID.fullmatch(text) else text


def _names_something(part: object) -> bool:
    return isinstance(part, str) and part != "" and not _SURROGATE.search(part)


def _locator_of(gid: GlobalId) -> Locator:
    for locator in _locators:
        if locator.knows(gid):
            return locator
    raise ArgumentError(
        f"no locator of this process knows {gid}: call tenantjobs_sqlalchemy.install(...) in the app that the worker "
        f"imports, import the model {gid.model!r} there, and check that the setting `name` is {gid.app!r} there too"
    )


def _described(value: object) -> str:
    return repr(value) if value is None or isinstance(value, bool) else _kind(value)


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _escapes() -> ModuleType:
    # Percent-escapes are only needed where a record travels; every importer of tenantjobs would pay for them.
    return import_module("urllib.parse")
