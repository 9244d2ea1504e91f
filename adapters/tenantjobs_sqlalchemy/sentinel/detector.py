"""The detector: listens to every engine, session and pool of this process, from the first watch on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tenantjobs.sentinel import Watched
from tenantjobs_sqlalchemy.sentinel import residue, rows, statements


class DatabaseDetector:
    """Sees what jobs read, write and leave behind, whatever session or connection they use."""

    def __init__(self) -> None:
        self._listens = False

    def listen(self) -> None:
        if not self._listens:  # SQLAlchemy does not forget a listener of a class; ours ask whether somebody watches
            self._listens = True
            statements.listen()
            rows.listen()
            residue.listen()

    @contextmanager
    def performing(self, _job: Watched) -> Iterator[None]:
        with residue.gathered():
            yield
