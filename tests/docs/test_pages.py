"""The documentation is run: named blocks are files, console blocks are commands, and links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from secrets import token_hex
from textwrap import dedent

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.pooler import pgbouncer
from tests.services import POSTGRES, fresh_postgres

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ELSEWHERE = ("write-an-adapter.md",)  # it installs something: followed outside of this environment
BLOCK = re.compile(r"^```(?P<language>\w*)(?: (?P<file>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#\s]+)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _consoles(page: Path) -> bool:
    return page.name not in ELSEWHERE and any(
        block["language"] == "console" for block in BLOCK.finditer(page.read_text())
    )


def _server(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.postgres] if "SHOP_URL" in page.read_text() else []


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=_server(page)) for page in PAGES if _consoles(page)], ids=_name
)
def test_every_file_and_command_of_a_page_works_as_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _databases(pooled="pgbouncer" in page.name) if _server(page) else nullcontext({}) as urls:
        for name, url in urls.items():
            monkeypatch.setenv(name, url)
        walk(page, tmp_path, _environment())


@contextmanager
def _databases(*, pooled: bool) -> Iterator[dict[str, str]]:
    """An empty database, as its owner and as a role that the page has to make."""
    role = f"tj_test_{token_hex(6)}"
    try:
        with fresh_postgres() as url:
            shop = make_url(url).set(username=role)
            with pgbouncer(shop) if pooled else nullcontext(shop) as way:
                yield {"DATABASE_URL": url, "SHOP_URL": way.render_as_string(hide_password=False)}
    finally:
        engine = create_engine(POSTGRES)
        with engine.begin() as connection:
            connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
        engine.dispose()


def walk(page: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Do what the page says, in ``folder``: write its files, run its commands, and look for their output."""
    for block in BLOCK.finditer(page.read_text()):
        if block["file"]:
            with (folder / block["file"]).open("a") as file:
                file.write(block["body"])
        elif block["language"] == "console":
            for command, expected in _commands(block["body"]):
                output = _run(command, folder, environment)
                for line in expected:
                    assert line in output, f"$ {command}\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_python_block_of_a_page_is_python(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        if block["language"] == "python":
            compile(dedent(block["body"]), str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_file_of_a_page_is_named_where_a_reader_sees_it(page: Path) -> None:
    """A page as it is rendered does not show the first line of a block."""
    text = page.read_text()
    prose = BLOCK.sub("", text)
    files = [(block["file"], block["body"]) for block in BLOCK.finditer(text) if block["file"]]

    assert [name for name, body in files if f"`{name}`" not in prose and not body.startswith(f"# {name}")] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text())]

    assert [target for target in targets if not (page.parent / target).exists()] == []


def _commands(body: str) -> list[tuple[str, list[str]]]:
    commands: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), []))
        else:
            commands[-1][1].append(line)
    return commands


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENANTJOBS_")}
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    return inherited


def _run(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"$ {command}\n{output}"
    return output
