"""The example's own test fails on the project as it was, and passes once the diff has been applied."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.copies import Copy, delete_queue
from tests.services import require

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Copy]:
    require("RabbitMQ")
    queue = f"tj{uuid.uuid4().hex[:10]}"
    yield Copy("wrap_celery_tasks", tmp_path / "project", {"wrap-celery-tasks": queue})
    delete_queue(queue)


def test_as_it_was_everything_is_in_the_books_of_nobody(project: Copy) -> None:
    done = project.run("pytest", "-q", "-p", "no:cacheprovider", "test_books.py")

    assert done.returncode == 1, done.stdout
    assert sorted(path.name for path in project.folder.glob("*.txt")) == ["None.txt"]


def test_with_the_diff_it_is_in_those_of_its_tenant(project: Copy) -> None:
    subprocess.run(["git", "apply", "carry-the-tenant.diff"], cwd=project.folder, check=True)

    done = project.run("pytest", "-q", "-p", "no:cacheprovider", "test_books.py")

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_diff_is_one_line_and_its_import(project: Copy) -> None:
    lines = (project.folder / "carry-the-tenant.diff").read_text().splitlines()

    assert [line for line in lines if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))] == [
        "+import tenantjobs_celery",
        "+tenantjobs_celery.install(app)",
    ]
