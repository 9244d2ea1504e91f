from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tenantjobs import yaml_file
from tenantjobs.config.mistakes import Mistakes
from tenantjobs.yaml_file import Marked, plain, typed


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    queues: tuple[str, ...] = ("*",)
    threads: Annotated[int, msgspec.Meta(ge=1)] = 3
    quiet: bool = False


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    workers: tuple[Worker, ...]
    pidfile: str | None = None


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "queue.yml"


def read(file: Path, text: str, environment: str = "development", environ: Mapping[str, str] | None = None) -> Any:
    """The values of the section, or the mistakes."""
    file.write_text(text, encoding="utf-8")
    mistakes = Mistakes()
    section = yaml_file.read(file, environment, mistakes, environ or {}).section
    if mistakes:
        return mistakes.found()
    return None if section is None else {key: plain(marked) for key, marked in section.items()}


def check(file: Path, text: str, **environ: str) -> Any:
    """The section as ``Processes``, or the mistakes."""
    file.write_text(text, encoding="utf-8")
    mistakes = Mistakes()
    section = yaml_file.read(file, "development", mistakes, environ).section
    assert section is not None
    found = typed(Marked(section, next(iter(section.values())).origin), Processes, mistakes, what="development")
    return mistakes.found() or found


def test_the_section_of_the_environment_is_read(file: Path) -> None:
    text = "production: {a: 1}\ndevelopment: {a: 2}\n"

    assert {"a": 1} == read(file, text, "production")
    assert {"a": 2} == read(file, text, "development")


def test_a_file_without_the_section_says_which_ones_it_has(file: Path) -> None:
    file.write_text("production: {a: 1}\nstaging:\n", encoding="utf-8")
    document = yaml_file.read(file, "development", Mistakes(), {})

    assert document.section is None
    assert ("production", "staging") == document.environments


def test_an_empty_section_is_there(file: Path) -> None:
    assert {} == read(file, "development:\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_an_empty_file_has_no_section(file: Path, text: str) -> None:
    assert read(file, text) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12:30", "12:30"),
        ("04:02", "04:02"),
        ("2026-01-01", "2026-01-01"),
        ("every day at 9am", "every day at 9am"),
        ("90", 90),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ('"yes"', "yes"),
        ("'017'", "017"),
        ('"90"', "90"),
        ("y", "y"),
        ("infinity", "infinity"),
    ],
)
def test_a_value_is_what_it_looks_like(file: Path, written: str, value: object) -> None:
    found = read(file, f"development:\n  a: {written}\n")

    assert {"a": value} == found
    assert type(value) is type(found["a"])


@pytest.mark.parametrize("written", ["yes", "NO", "on", "Off", "017", "0x1f", "0o17", "1_000"])
def test_a_value_that_readers_disagree_about_is_refused_with_what_to_write(file: Path, written: str) -> None:
    (mistake,) = read(file, f"development:\n  a: {written}\n")

    assert mistake.startswith(f"queue.yml:2:6: {written} is one thing to some readers of YAML and another to others: ")
    assert f'"{written}" for the text' in mistake


def test_a_key_may_be_any_word(file: Path) -> None:
    assert {"on": 1, "yes": 2} == read(file, "development:\n  on: 1\n  yes: 2\n")


def test_a_key_that_is_there_twice_is_refused(file: Path) -> None:
    assert ("queue.yml:3:3: 'a' is there twice, first in line 2",) == read(file, "development:\n  a: 1\n  a: 2\n")


def test_every_mistake_is_told_at_once_and_in_order(file: Path) -> None:
    found = read(file, "production:\n  a: yes\ndevelopment:\n  b: 017\n  b: 1\n  c: !!int 3\n  ? [x]\n  : 1\n")

    assert [2, 4, 5, 6, 7] == [int(mistake.split(":")[1]) for mistake in found]


def test_anchors_and_merges_are_put_together_with_what_is_written_here_on_top(file: Path) -> None:
    text = (
        "production: &production\n  a: &a {x: 1, y: 2}\n  b: *a\ndevelopment:\n  <<: *production\n  b: {<<: *a, y: 3}\n"
    )

    assert {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}} == read(file, text)


def test_of_several_merged_mappings_the_first_wins(file: Path) -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\ndevelopment: {<<: [*x, *y], c: 3}\n"

    assert {"a": 1, "b": 1, "c": 3} == read(file, text)


@pytest.mark.parametrize("text", ["development: &a\n  b: *a\n", "development: &a\n  <<: *a\n", "&a\n<<: *a\n"])
def test_an_anchor_inside_itself_is_refused(file: Path, text: str) -> None:
    (mistake,) = read(file, text)

    assert mistake.startswith("queue.yml:1:")


def test_a_merge_of_what_is_no_mapping_is_refused(file: Path) -> None:
    (mistake,) = read(file, "development:\n  <<: [1]\n")

    assert "queue.yml:2:8: << takes a mapping, as in `<<: *production`" == mistake


def test_variables_are_filled_in(file: Path) -> None:
    text = 'development: {a: "${A}", b: "x${B:-1}y", c: "${C:-}", d: "$${A}", e: "$5"}\n'

    assert {"a": "one", "b": "x1y", "c": "", "d": "${A}", "e": "$5"} == read(file, text, environ={"A": "one", "B": ""})


def test_what_a_variable_says_is_a_number_where_there_are_no_quotes(file: Path) -> None:
    assert {"a": 5, "b": True, "c": "5"} == read(
        file, "development:\n  a: ${A:-5}\n  b: ${B:-true}\n  c: '${A:-5}'\n", environ={}
    )


def test_a_variable_that_is_not_set_is_a_mistake(file: Path) -> None:
    found = read(file, "development:\n  a: ${A}\n  b: ${B-x}\n")

    assert (
        "queue.yml:2:6: the variable A is not set: set it, or write ${A:-default}",
        "queue.yml:3:6: ${ begins a variable: write ${NAME}, ${NAME:-default}, or $${ for itself",
    ) == found


def test_variables_of_other_environments_need_not_be_set(file: Path) -> None:
    assert {"a": 1} == read(file, "production:\n  a: ${A}\ndevelopment:\n  a: 1\n")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("development:\n  a: {cron: */5 * * * *}\n", 'has to be in quotes, as in cron: "*/5 * * * *"'),
        ("development:\n  a: {b: ${A:-5}}\n", 'a variable has to be in quotes, as in "${NAME:-default}"'),
        ("development:\n  a: [1\n", "is not valid YAML"),
        ("development:\n\ta: 1\n", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_place(file: Path, text: str, hint: str) -> None:
    (mistake,) = read(file, text)

    assert mistake.startswith("queue.yml:")
    assert hint in mistake


@pytest.mark.parametrize("text", ["- a\n", "just text\n"])
def test_the_file_is_a_mapping_of_environments(file: Path, text: str) -> None:
    assert ("queue.yml:1:1: the keys of the file are environments, as in `production:`",) == read(file, text)


def test_an_environment_is_a_mapping(file: Path) -> None:
    (mistake,) = read(file, "class: CleanupJob\n")

    assert mistake.startswith("queue.yml:1:8: class: the keys of the file are environments")


def test_a_file_that_cannot_be_read_is_a_mistake(file: Path) -> None:
    mistakes = Mistakes()
    yaml_file.read(file, "development", mistakes, {})

    assert ("queue.yml: cannot be read: No such file or directory",) == mistakes.found()


def test_bytes_that_are_no_text_are_a_mistake(file: Path) -> None:
    file.write_bytes(b"development: {a: \xff}\n")
    mistakes = Mistakes()
    yaml_file.read(file, "development", mistakes, {})

    assert ("queue.yml: is not UTF-8 text: invalid start byte at byte 17",) == mistakes.found()


def test_a_mapping_becomes_a_struct(file: Path) -> None:
    text = "development:\n  workers:\n    - {queues: [a, b], threads: 5}\n    - {threads: '${THREADS:-7}'}\n"

    assert Processes(workers=(Worker(queues=("a", "b"), threads=5), Worker(threads=7))) == check(file, text)


def test_a_number_in_quotes_is_no_number_unless_a_variable_said_it(file: Path) -> None:
    (mistake,) = check(file, "development:\n  workers: [{threads: '7'}]\n")

    assert "queue.yml:2:23: development.workers[0].threads: expected `int`" in mistake.replace("int,", "`int`,")


def test_all_that_is_wrong_with_a_mapping_is_told(file: Path) -> None:
    found = check(file, "development:\n  worker: 1\n  pidfile: [x]\n  workers:\n    - {thread: 5, quiet: 3}\n    - 7\n")

    assert [
        "queue.yml:2:3: development: unknown key 'worker'; did you mean workers?",
        "queue.yml:3:12: development.pidfile: expected str | null, got array: ['x']",
        "queue.yml:5:8: development.workers[0]: unknown key 'thread'; did you mean threads?",
        "queue.yml:5:26: development.workers[0].quiet: expected bool, got int: 3",
        "queue.yml:6:7: development.workers[1]: a mapping of queues, threads, quiet is wanted, not 7",
    ] == list(found)


def test_what_is_missing_is_told(file: Path) -> None:
    (mistake,) = check(file, "development:\n  pidfile: x\n")

    assert mistake.endswith("development: workers is missing")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(value=values)
def test_what_was_written_out_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.getbasetemp() / "written.yml"
    file.write_text(yaml.safe_dump({"development": {"a": value}}, allow_unicode=True), encoding="utf-8")
    mistakes = Mistakes()
    section = yaml_file.read(file, "development", mistakes, {}).section

    if "${" not in repr(value):
        assert () == mistakes.found()
        assert section is not None
        assert value == plain(section["a"])
