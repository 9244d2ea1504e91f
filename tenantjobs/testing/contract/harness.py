"""What an adapter tells the kit about itself, and what the kit makes of it: settings, workers, and waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from tenantjobs import adapter as adapters
from tenantjobs import runtime
from tenantjobs.adapter import Adapter
from tenantjobs.current import Current
from tenantjobs.testing.contract import effects, jobs
from tenantjobs.testing.contract.effects import Effect


class Worker(Protocol):
    """A process, as ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


class Harness:
    """Override what the adapter needs; ``self.folder`` is a new folder, and ``self.queue`` a queue of this test alone.

    ``in_process`` says that jobs are performed at the call, by no worker. ``survives_kill`` says that a job whose
    worker is killed is performed by another one, ``gives_back`` that one which is interrupted in a worker that goes on
    is performed again, ``interrupts`` that a worker which stops interrupts jobs with steps at their next checkpoint,
    and ``patience`` how many seconds anything may take.
    """

    adapter: ClassVar[str]
    app: ClassVar[str] = "tenantjobs.testing.contract.app"
    in_process: ClassVar[bool] = False
    survives_kill: ClassVar[bool] = False
    gives_back: ClassVar[bool] = False
    interrupts: ClassVar[bool] = False
    patience: ClassVar[float] = 30.0

    folder: Path
    queue: str

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The sections of the configuration: ``{"folder": {"path": ...}}``."""
        return {}

    def environment(self) -> Mapping[str, str]:
        """Environment variables of the producer and of its workers."""
        return {}

    def prepare(self) -> None:
        """Make ready what ``settings`` names: a schema, a folder. Skip the test here if a server is missing."""

    def clean(self) -> None:
        """Remove what outlives the folder: queues, keys. Called with workers stopped and the settings in force."""

    def worker_command(self, queue: str, threads: int) -> list[str]:
        """How a real worker process of this queue is started; in ``self.folder``, where the configuration lies."""
        return [sys.executable, "-m", "tenantjobs.cli", "work", "-q", queue, "--threads", str(threads)]

    def launch(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Worker:
        """Run that in ``self.folder``, in a session of its own, with what it writes in ``log``."""
        with log.open("wb") as written:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=written, stderr=written, start_new_session=True
            )

    def failure(self, job_id: str) -> str | None:
        """What the queue shows of a job that failed, None while it shows nothing. By default the worker's log."""
        log = self.log()
        return log if job_id in log else None

    # What the cases use.

    @pytest.fixture(autouse=True)
    def _harness(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.folder = tmp_path
        self.queue = f"contract-{uuid.uuid4().hex[:10]}"
        self.workers: list[Worker] = []
        monkeypatch.setenv(effects.FOLDER, str(tmp_path))
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)
        self.prepare()
        sections = self.settings()
        (tmp_path / "tenantjobs.toml").write_text(_toml({"adapter": self.adapter, "app": self.app}, sections), "utf-8")
        given: dict[str, Any] = {"adapter": self.adapter, "tenant_locator": jobs.locate_tenant, **sections}
        with runtime.override(**given):
            try:
                yield
            finally:
                self.stop()
                self.clean()

    @property
    def configured(self) -> Adapter:
        """The adapter as this process has it."""
        return adapters.configured()

    def start(self, *, queue: str | None = None, threads: int = 1) -> Worker | None:
        """Start a worker process; none where jobs are performed at the call."""
        if self.in_process:
            return None
        paths = os.pathsep.join(filter(None, sys.path))
        given = {"TENANTJOBS_CONFIG": str(self.folder / "tenantjobs.toml"), "PYTHONPATH": paths}
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = self.launch(self.worker_command(queue or self.queue, threads), {**os.environ, **given}, log)
        self.workers.append(worker)
        return worker

    def stop(self) -> list[int]:
        """Ask every worker to stop, and wait for it; their exit codes."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
        codes = []
        for worker in self.workers:
            try:
                codes.append(worker.wait(self.patience))
            except subprocess.TimeoutExpired:
                self.kill(worker)
                pytest.fail(f"a worker did not stop when it was asked to:\n{self.log()}")
        self.workers.clear()
        return codes

    def kill(self, worker: Worker) -> None:
        """End a worker and its children as a power failure would."""
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def log(self) -> str:
        """What the workers have written."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("worker-*.log")))

    def effects(self, *, of: str | None = None) -> list[Effect]:
        """What jobs have done so far."""
        return [effect for effect in effects.recorded(self.folder) if of is None or effect.what == of]

    def performed(self, count: int, *, of: str | None = None) -> list[Effect]:
        """What jobs have done, as soon as there is that much of it; more than that is a failure."""
        self.until(lambda: len(self.effects(of=of)) >= count, f"{count} effects")
        found = self.effects(of=of)
        assert len(found) == count, f"{count} effects were expected: {found}"
        return found

    def failed(self, job_id: str, error: str) -> None:
        """Wait until the queue shows that the job has failed of ``error``."""
        self.until(lambda: error in (self.failure(job_id) or ""), f"a failure that shows {error!r}")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that other processes bring about."""
        deadline = time.monotonic() + self.patience
        while not condition():
            dead = [worker.returncode for worker in self.workers if worker.poll() not in (None, -signal.SIGKILL)]
            if dead or time.monotonic() > deadline:
                why = f"a worker ended with {dead}" if dead else f"it took more than {self.patience:g} s"
                pytest.fail(f"{what}: {why}; effects: {self.effects()}\n{self.log()[-6000:]}")
            time.sleep(0.02)

    def nothing_but_a_marker_runs(self) -> None:
        """Whatever came before on this queue has had its turn when the marker has run."""
        with Current.set(tenant_id="marker"):
            jobs.note.set(queue=self.queue).perform_later("marker")
        if not self.workers:
            self.start()
        self.until(lambda: any(effect.value == "marker" for effect in self.effects()), "the marker")
        assert [effect.value for effect in self.effects()] == ["marker"]


def _toml(options: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> str:
    # A text, a number, a truth value or a list of them is written in TOML as it is in JSON.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in options.items()]
    for section, values in sections.items():
        lines += [
            f"[{section}]",
            *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()),
        ]
    return "\n".join(lines) + "\n"
