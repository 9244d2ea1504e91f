from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenantjobs import Job, definition, job, testing
from tenantjobs.definition import Definition
from tenantjobs.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("registry")


def test_a_job_is_named_after_its_place_unless_it_says_otherwise() -> None:
    @job
    def plain() -> None: ...

    @job(name="mail.send", aliases=("mail.old",))
    def named() -> None: ...

    assert plain.name == f"{__name__}.{plain.__qualname__}"
    assert definition.lookup("mail.send") is definition.lookup("mail.old") is named.__definition__
    assert definition.lookup("nobody") is None


def test_a_script_is_known_by_its_file_as_its_workers_know_it(tmp_path: Path) -> None:
    script = tmp_path / "shop_script.py"
    script.write_text("import tenantjobs\n@tenantjobs.job\ndef note(): ...\nprint(note.name)\n")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)

    assert result.stdout == "shop_script.note\n"


def test_the_name_of_a_class_is_not_inherited() -> None:
    class Parent(Job):
        name = "parent"

        def perform(self) -> None: ...

    class Child(Parent):
        pass

    assert (Parent.name, Child.name) == ("parent", f"{__name__}.{Child.__qualname__}")


def test_a_module_that_is_loaded_again_replaces_its_jobs() -> None:
    def load() -> Any:
        @job(name="reloaded")
        def reloaded() -> None: ...

        return reloaded

    first, second = load(), load()

    assert definition.lookup("reloaded") is second.__definition__
    assert first.__definition__ is not second.__definition__


@pytest.mark.parametrize(
    ("configured", "declared", "expected"),
    [
        ("required", None, "required"),
        ("optional", None, "optional"),
        ("none", None, "optional"),
        ("none", "required", "required"),
        ("required", "none", "none"),
        ("observe", None, "observe"),
    ],
)
def test_a_job_without_a_tenancy_of_its_own_takes_the_configured_one(
    configured: Any, declared: Any, expected: str
) -> None:
    @job(tenancy=declared)
    def note() -> None: ...

    with testing.override(tenancy=configured):
        assert note.__definition__.tenancy == expected


@pytest.mark.parametrize("options", [{"name": ""}, {"queue": ""}, {"priority": 1.5}, {"tenancy": "perhaps"}])
def test_options_of_the_wrong_kind_are_refused_when_the_job_is_made(options: Any) -> None:
    def function() -> None: ...

    values = {"name": "n", **options}
    with pytest.raises(ConfigurationError):
        Definition(source=function, function=function, parameters=function, levels=list, **values)


def test_what_is_no_function_cannot_be_a_job() -> None:
    with pytest.raises(ConfigurationError, match="for methods there is @later"):
        job(staticmethod(lambda: None))
