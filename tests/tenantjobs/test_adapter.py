from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tenantjobs import adapter, config, job, testing
from tenantjobs.adapter import Capabilities
from tenantjobs.envelope import Envelope
from tenantjobs.errors import ConfigurationError, UnsupportedCapability
from tests.configuration import nothing_configured


class Plain:
    """A third party's adapter, with as little as the contract asks for."""

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        url: str = "nowhere"

    capabilities = Capabilities()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closed = False
        self.enqueued: list[Envelope] = []

    def enqueue(self, envelope: Envelope) -> None:
        self.enqueued.append(envelope)

    def enqueue_all(self, envelopes: Sequence[Envelope]) -> None:
        self.enqueued.extend(envelopes)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.installed(), "plain", f"{__name__}:Plain")


@pytest.mark.usefixtures("plain")
@pytest.mark.parity("1a.35")
def test_an_adapter_of_anybody_is_built_by_name_with_its_own_section() -> None:
    with testing.override(adapter="plain", plain={"url": "here"}):
        built: Any = adapter.configured()

        assert isinstance(built, Plain)
        assert built.settings.url == "here"
        assert adapter.configured() is built

    assert built.closed


@pytest.mark.usefixtures("plain")
def test_an_adapter_outlives_a_change_that_does_not_touch_it() -> None:
    """Jobs that wait in memory are not lost because a tenant locator is set, or another adapter's section."""
    with testing.override(adapter="plain"):
        built: Any = adapter.configured()
        with testing.override(tenant_locator=str, tenancy="optional", db={"url": "sqlite://"}):
            assert adapter.configured() is built
        assert not built.closed

        with testing.override(plain={"url": "elsewhere"}):
            other: Any = adapter.configured()
            assert (built.closed, other.settings.url) == (True, "elsewhere")
        with testing.override(adapter="plain"):
            assert adapter.configured() is not other


@pytest.mark.usefixtures("plain", "registry", "acme")
@pytest.mark.parity("1a.35")
def test_what_it_has_not_declared_is_refused_at_the_call() -> None:
    @job
    def note() -> None: ...

    with testing.override(adapter="plain"):
        handle = note.perform_later()
        with pytest.raises(UnsupportedCapability, match="delay"):
            note.set(wait=5).perform_later()
        with pytest.raises(UnsupportedCapability, match="priority"):
            note.set(priority=5).perform_later()
        with pytest.raises(UnsupportedCapability, match="cancel"):
            handle.cancel()


def test_no_configuration_at_all_is_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    with nothing_configured(tmp_path), pytest.raises(ConfigurationError, match='adapter = "db"'):
        adapter.configured()


def test_an_unknown_adapter_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean inline"):
        adapter.load("inlnie")
