from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tenantjobs
from tenantjobs import adapter, config, runtime, testing
from tenantjobs.errors import ConfigurationError
from tests.configuration import nothing_configured, write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with nothing_configured(tmp_path) as path:
        yield path


def test_settings_are_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[config.Settings] = []
    load = config.load

    def counted() -> config.Settings:
        loads.append(load())
        return loads[-1]

    monkeypatch.setattr(config, "load", counted)

    assert runtime.settings() is runtime.settings()
    assert len(loads) == 1


def test_configure_makes_them_be_resolved_anew() -> None:
    assert runtime.settings().name == "app"

    tenantjobs.configure(name="shop")

    assert runtime.settings().name == "shop"


def test_the_first_enqueue_without_any_configuration_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError, match="no adapter is configured"):
        adapter.configured()


def test_a_broken_configuration_is_told_every_time_until_it_is_put_right(folder: Path) -> None:
    path = write(folder, "adapter = 1\n")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="expected str"):
            runtime.settings()

    path.write_text('adapter = "test"\n')

    assert runtime.settings().adapter == "test"


def test_override_is_seen_by_all_threads_and_undone_afterwards() -> None:
    seen: list[str | None] = []

    def look() -> None:
        seen.append(runtime.settings().adapter)

    look()
    with testing.override(adapter="test"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()

    assert seen == [None, "test", None]


def test_callbacks_see_the_new_settings() -> None:
    seen: list[str | None] = []
    runtime.on_change(lambda _: seen.append(runtime.settings().adapter))

    with runtime.override(adapter="inline"):
        pass
    tenantjobs.configure(adapter="test")

    assert seen == ["inline", None, "test"]


def test_threads_that_configure_and_ask_never_keep_old_settings() -> None:
    def ask() -> None:
        while not done.is_set():
            runtime.settings()

    done = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(50):
            tenantjobs.configure(name=f"app{number}")

            assert runtime.settings().name == f"app{number}"
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_load_app_imports_the_module_once_and_gives_what_it_configured(folder: Path) -> None:
    write(folder, 'import tenantjobs\ntenantjobs.configure(name="shop", adapter="test")\n', "shopping/main.py")
    sys.path.insert(0, str(folder))
    tenantjobs.configure(app="shopping.main")

    assert runtime.load_app().name == "shop"
    tenantjobs.configure(name="another")
    assert runtime.load_app().name == "another"


def test_load_app_without_an_app_gives_the_settings() -> None:
    assert runtime.load_app() == runtime.settings()


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.main", "json.no_such_module"])
def test_an_app_that_does_not_exist_is_a_configuration_error(folder: Path, name: str) -> None:
    write(folder, f'app = "{name}"\n')

    with pytest.raises(
        ConfigurationError, match=rf"tenantjobs\.toml:1: app = '{name}' cannot be imported: .*PYTHONPATH"
    ):
        runtime.load_app()


def test_what_the_app_raises_while_it_is_imported_is_raised(folder: Path) -> None:
    write(folder, "raise ValueError('no luck')\n", "unlucky.py")
    sys.path.insert(0, str(folder))

    with testing.override(app="unlucky"), pytest.raises(ValueError, match="no luck"):
        runtime.load_app()


def test_a_library_that_the_app_misses_is_not_taken_for_the_app(folder: Path) -> None:
    write(folder, "import no_such_library\n", "poor/main.py")
    sys.path.insert(0, str(folder))

    with testing.override(app="poor.main"), pytest.raises(ModuleNotFoundError, match="no_such_library"):
        runtime.load_app()


def test_importing_and_configuring_is_light(folder: Path) -> None:
    write(folder, 'adapter = "db"\n')
    code = (
        "import sys, tenantjobs\n"
        "tenantjobs.configure(app='shop.main')\n"
        "heavy = {'tomllib', 'importlib.metadata', 'asyncio', 'sqlalchemy', 'click', 'rich', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
