from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenantjobs import Job, definition, job, testing
from tenantjobs.recurring import entries
from tenantjobs.recurring.entries import Entry

Read = Callable[[str], tuple[str, ...] | dict[str, Entry]]
NUMBER = 5


class CleanupJob(Job):
    name = "cleanup"

    def perform(self, days: int = 30) -> None: ...


class Bundle:
    @staticmethod
    def deliver_all(dry: bool = False) -> None: ...


async def asynchronous() -> None: ...


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    before = dict(definition.registry)
    definition.registry["cleanup"] = CleanupJob.__definition__
    yield
    definition.registry.clear()
    definition.registry.update(before)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """The entries of a file, or its mistakes, each without the name of the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    file = tmp_path / "config" / "recurring.yml"

    def read(text: str) -> tuple[str, ...] | dict[str, Entry]:
        file.write_text(text)
        found = entries.read()
        return tuple(mistake.partition("recurring.yml:")[2] for mistake in found.mistakes) or dict(found.entries)

    with testing.override(adapter="test", recurring=str(file), tenants=list):
        yield read


def entry(read: Read, text: str) -> Entry:
    found = read(f"development:\n  nightly: {{{text}}}\n")
    assert isinstance(found, dict), found
    return found["nightly"]


def mistake(read: Read, text: str) -> str:
    found = read(f"development:\n  nightly: {{{text}}}\n")
    assert isinstance(found, tuple), found
    return "\n".join(found)


@pytest.mark.parity("1b.29")
def test_an_entry_has_all_that_the_file_says(read: Read) -> None:
    found = entry(
        read,
        f'class: "{__name__}:CleanupJob", args: [90], kwargs: {{}}, queue: low, priority: 5, description: old things, '
        f'schedule: every day at 04:02, system: "retention"',
    )

    assert CleanupJob.__definition__ is found.target.definition
    assert [90] == list(found.target.args)
    assert ("low", 5, "old things", "retention") == (found.queue, found.priority, found.description, found.system)
    assert ("2 4 * * *",) == found.schedule.crons
    assert (False, "once", 0.0) == (found.for_each_tenant, found.catch_up, found.jitter)


@pytest.mark.parametrize("said", ["schedule: every hour", 'cron: "0 * * * *"', "every: 1h", 'every: "1h"'])
def test_a_schedule_is_said_in_one_of_three_ways(read: Read, said: str) -> None:
    assert ("0 * * * *",) == entry(read, f"class: cleanup, {said}, for_each_tenant: true").schedule.crons


def test_sections_share_what_they_have_in_common(read: Read) -> None:
    found = read(
        "production: &production\n  a: {class: cleanup, every: 1h, system: x}\ndevelopment:\n  <<: *production\n"
        "  b: {class: cleanup, every: '${EVERY:-2h}', system: x}\n"
    )

    assert isinstance(found, dict)
    assert ["a", "b"] == list(found)
    assert ("0 */2 * * *",) == found["b"].schedule.crons


@pytest.mark.parametrize("path", [f"{__name__}:Bundle.deliver_all", f"{__name__}:CleanupJob", "cleanup"])
def test_a_call_is_a_job_or_anything_that_can_be_called(read: Read, path: str) -> None:
    assert path == entry(read, f'call: "{path}", every: 1h, system: x').target.path


@pytest.mark.parity("1b.29")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "class: cleanup, command: 'x()', every: 1h, system: x",
            "2:38: nightly: command: would be evaluated",
        ),
        ("command: 'x()', every: 1h, system: x", "name what is to be called in call:"),
        ("every: 1h, system: x", "2:3: nightly: say what, by class: (a job) or call:"),
        ("class: cleanup, call: cleanup, every: 1h, system: x", "say what, by class: (a job) or call:"),
        ("class: cleanup, system: x", "say when, by one of schedule:, cron: and every:"),
        ("class: cleanup, every: 1h, cron: '@daily', system: x", "and every:, not by several"),
        ("class: cleanup, schedule: every 45 minutes, system: x", "2:39: nightly: 'every 45 minutes': cron cannot say"),
        ("class: cleanup, schedule: every dya, system: x", "did you mean 'day'?"),
        ("class: cleanup, cron: every day, system: x", "fields"),
        ("class: cleanup, every: 1h", 'say for whom it is: for_each_tenant: true, or system: "why'),
        ("class: cleanup, every: 1h, system: x, for_each_tenant: true", "exclude each other"),
        ("class: cleanup, every: 1h, system: ' '", "system: wants a reason"),
        ("class: cleanup, every: 1h, system: x, jitter: 5m", "jitter: spreads the jobs of many tenants"),
        ("class: cleanup, every: 1h, for_each_tenant: true, jitter: soon", "'soon' is no duration"),
        ("class: cleanup, evry: 1h, system: x", "2:29: nightly: unknown key 'evry'; did you mean every?"),
        ("class: cleanup, every: 1h, system: x, catch_up: twice", "none of skip, once, all"),
        ("class: cleanup, every: 1h, system: x, priority: high", "nightly.priority: expected int"),
        ("class: cleanup, args: [1, 2], every: 1h, system: x", "too many positional arguments"),
        ("class: cleanup, kwargs: {dyas: 1}, every: 1h, system: x", "unexpected keyword argument 'dyas'"),
        ("class: claenup, every: 1h, system: x", "did you mean cleanup?"),
        (f'class: "{__name__}:ClaenupJob", every: 1h, system: x', "did you mean"),
        (f'class: "{__name__}:Bundle.deliver_all", every: 1h, system: x', "is no job: decorate it with @job"),
        (f'call: "{__name__}:NUMBER", every: 1h, system: x', "which cannot be called"),
        (f'call: "{__name__}:asynchronous", every: 1h, system: x', "make it a job, with @job"),
        ('call: "no.such:thing", every: 1h, system: x', "cannot be imported: No module named 'no'"),
        ("call: \"os:system('rm')\", every: 1h, system: x", "nothing is evaluated"),
        ("call: \"__import__('os'):system\", every: 1h, system: x", "nothing is evaluated"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_with_its_place(read: Read, text: str, said: str) -> None:
    assert said in mistake(read, text)


def test_all_mistakes_are_told_at_once(read: Read) -> None:
    found = read("development:\n  a: {class: cleanup, every: 45m}\n  b: {clas: cleanup}\n  c: 5\n")

    assert isinstance(found, tuple)
    assert ["2:3", "2:30", "3:7", "4:6"] == sorted(":".join(each.split(":")[:2]) for each in found)


@pytest.mark.parity("1b.29")
def test_a_file_without_a_section_for_this_environment_is_a_mistake(read: Read) -> None:
    read("production:\n")

    (found,) = entries.read().mistakes
    assert "has no section 'development', only production" in found
    assert {} == read("production:\ndevelopment:\n")


def test_a_file_that_was_not_asked_for_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with testing.override(adapter="test"):
        assert {} == entries.read().entries
        assert () == entries.read().mistakes


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with testing.override(adapter="test", recurring="jobs.yml"):
        (found,) = entries.read().mistakes

    assert "jobs.yml: cannot be read: No such file or directory" == found


def test_which_tenants_there_are_has_to_be_known(read: Read) -> None:
    with testing.override(tenants=None):
        assert "tenantjobs.configure(tenants=...)" in mistake(read, "class: cleanup, every: 1h, for_each_tenant: true")


def test_without_tenants_an_entry_need_not_say_for_whom_it_is(read: Read) -> None:
    with testing.override(tenancy="none"):
        assert entry(read, "class: cleanup, every: 1h").system is None
        assert "there are no tenants" in mistake(read, "class: cleanup, every: 1h, for_each_tenant: true")


def test_a_queue_without_a_place_for_ticks_says_what_is_wanted(read: Read) -> None:
    from tenantjobs.errors import ConfigurationError
    from tenantjobs.recurring import Scheduler

    read("development:\n")
    with pytest.raises(ConfigurationError, match=r"adapter 'test' has no place for that: name a database beside it"):
        Scheduler()


def test_a_job_of_ours_is_known_when_it_is_asked_for() -> None:
    assert definition.lookup("tenantjobs.recurring.call") is not None


def test_a_function_job_is_found_by_its_name(read: Read) -> None:
    @job(name="greet")
    def greet(whom: str) -> None: ...

    assert greet.__definition__ is entry(read, "class: greet, args: [ann], every: 1h, system: x").target.definition
