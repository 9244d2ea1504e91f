from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from tenantjobs import config
from tenantjobs.config import Misconfigured, Origin, Settings
from tenantjobs.errors import ConfigurationError


class Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section with every kind of field."""

    url: str
    threads: int = 3
    wait: float = 1.0
    durable: bool = True
    mode: Literal["fast", "safe"] = "safe"
    keep: float | bool = True
    folder: Path | None = None
    engine: Any = None
    names: list[str] = []

    def __post_init__(self) -> None:
        if self.threads > 100:
            raise ValueError(f"threads = {self.threads} is more than any machine has; 100 is the limit")


FILE = Origin("tenantjobs.toml", line=4, directory="/etc/shop")


def settings(values: dict[str, Any], *, text: bool = False) -> Settings:
    def origin(key: str) -> Origin:
        return Origin(f"TENANTJOBS_QUEUE_{key.upper()}", text=True) if text else FILE

    return Settings(sections={"queue": values}, origins={f"queue.{key}": origin(key) for key in values})


def mistakes(values: dict[str, Any], *, text: bool = False) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        config.section(settings(values, text=text), "queue", Queue)
    return list(caught.value.mistakes)


def test_a_section_becomes_the_struct_of_the_adapter() -> None:
    engine = object()

    queue = config.section(settings({"url": "x", "threads": 5, "wait": 2, "engine": engine}), "queue", Queue)

    assert queue == Queue(url="x", threads=5, wait=2.0, engine=engine)
    assert queue.engine is engine


def test_a_section_that_is_not_written_has_the_defaults() -> None:
    class Empty(msgspec.Struct, forbid_unknown_fields=True):
        limit: int = 5

    assert config.section(Settings(), "empty", Empty) == Empty()


def test_texts_from_the_environment_become_what_the_struct_declares() -> None:
    written = {"url": "5", "threads": "5", "wait": "0.5", "durable": "false", "keep": "60", "mode": "fast"}

    queue = config.section(settings(written, text=True), "queue", Queue)

    assert queue == Queue(url="5", threads=5, wait=0.5, durable=False, keep=60.0, mode="fast")


def test_a_text_from_a_file_is_no_number() -> None:
    assert mistakes({"url": "x", "threads": "5"}) == ["tenantjobs.toml:4: queue.threads: expected int, got str: '5'"]


def test_a_path_is_relative_to_the_file_it_is_written_in() -> None:
    queue = config.section(settings({"url": "x", "folder": "data"}), "queue", Queue)

    assert queue.folder == Path("/etc/shop/data")


def test_a_path_from_the_environment_is_relative_to_the_working_directory() -> None:
    queue = config.section(settings({"url": "x", "folder": "data"}, text=True), "queue", Queue)

    assert queue.folder == Path("data")


def test_all_mistakes_of_a_section_are_reported_together() -> None:
    assert mistakes({"thread": 5, "wait": "long", "mode": "quick", "names": [1], "folder": 7}) == [
        "tenantjobs.toml:4: unknown key 'thread' in [queue]; did you mean threads?",
        "tenantjobs.toml:4: queue.wait: expected float, got str: 'long'",
        "tenantjobs.toml:4: queue.mode: 'quick' is none of fast, safe",
        "tenantjobs.toml:4: queue.names: expected str, got int - at $[0]: [1]",
        "tenantjobs.toml:4: queue.folder: expected Path, got int: 7",
        "[queue]: url is missing: write it there, or set TENANTJOBS_QUEUE_URL",
    ]


def test_what_the_struct_itself_refuses_is_reported_as_a_mistake_of_its_section() -> None:
    assert mistakes({"url": "x", "threads": 101}) == [
        "[queue]: threads = 101 is more than any machine has; 100 is the limit"
    ]


def test_a_variable_that_is_nearly_a_key_is_a_mistake_and_one_that_is_not_is_left_alone() -> None:
    written = {"url": "x", "thread": "5", "service_host": "10.0.0.1"}

    assert mistakes(written, text=True) == [
        "TENANTJOBS_QUEUE_THREAD: is no setting; did you mean TENANTJOBS_QUEUE_THREADS?"
    ]


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("db.url", "postgresql+psycopg://ann:secret@host:5432/shop", "'postgresql+psycopg://ann:***@host:5432/shop'"),
        ("db.url", "redis://:secret@host/0", "'redis://:***@host/0'"),
        ("db.url", "sqlite:///jobs.db", "'sqlite:///jobs.db'"),
        ("db.password", "secret", "'***'"),
        ("signing_key", b"secret", "***"),
        ("db.lease", 5.0, "5.0"),
        ("tenant", Queue, f"{__name__}.Queue"),
        ("db.hosts", ["amqp://a:b@c"], "['amqp://a:***@c']"),
        ("db.url", None, "None"),
    ],
)
def test_passwords_and_secrets_are_not_shown(key: str, value: object, shown: str) -> None:
    assert config.shown(key, value) == shown


def test_a_wrong_value_with_a_password_is_reported_without_it() -> None:
    assert "secret" not in mistakes({"url": "x", "threads": "postgresql://ann:secret@host/shop"})[0]


def test_an_adapter_is_found_by_its_entry_point() -> None:
    assert config.entry_point("inline") == "tenantjobs.inline:InlineAdapter"


def test_an_unknown_adapter_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="no adapter is called 'inlien'; did you mean inline"):
        config.adapter_class("inlien")


def test_an_adapter_whose_library_is_missing_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantjobs.config.entry_points.installed", lambda: {"celery": "no_such_library:Adapter"})

    with pytest.raises(
        ConfigurationError, match=r"No module named 'no_such_library'; pip install 'tenantjobs\[celery\]'"
    ):
        config.adapter_class("celery")
