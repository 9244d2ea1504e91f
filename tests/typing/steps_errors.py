"""What type checkers must refuse about steps; each marked line is an error."""

from __future__ import annotations

from tenantjobs import Cursor, Job, step


class Process(Job):
    def perform(self) -> None: ...

    @step(isolated="yes")  # error
    def first(self) -> None: ...

    @step(on_eror="flag")  # error
    def second(self) -> None: ...

    @step(start=0)
    def third(self, *, cursor: Cursor[int]) -> None:
        cursor.set("a")  # error
        cursor.value = 3  # error


for cursor in step("import", start=0):
    cursor.set(None)  # error

for _ in step("import", if_=lambda: True):  # error
    pass
