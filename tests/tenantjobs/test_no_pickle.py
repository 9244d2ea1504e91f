"""No pickle on our ways, and nothing else by which data becomes code."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from tenantjobs import testing
from tenantjobs.envelope import Envelope
from tenantjobs_celery.performing import wrapper
from tenantjobs_dramatiq.performing import NAME, declare
from tenantjobs_rq import RqAdapter
from tenantjobs_rq.performing import NAME as RQ_NAME
from tenantjobs_rq.settings import RqSettings
from tests.services import REDIS, require
from tests.tenantjobs_celery.bench import Bench
from tests.tenantjobs_db.making import envelope
from tests.tenantjobs_rq import servers

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "tenantjobs").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")])

# They make objects of bytes, and call what the bytes name.
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "joblib",
    "copyreg",
}
CALLS = {"eval", "exec", "compile", "__import__"}
YAML = {"load", "load_all", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all"}


def names(tree: ast.AST) -> set[str]:
    """Modules that are imported, by a statement or by name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.partition(".")[0])
    return found


def calls(tree: ast.AST) -> set[str]:
    """Functions that are called by their bare name, and those of the module ``yaml``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name):
                found.add(function.id)
            elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                found.add(f"{function.value.id}.{function.attr}")
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 200
    assert names(ast.parse("import pickle.x\nfrom marshal import loads\nimport_module('dill')")) >= {
        "pickle",
        "marshal",
        "dill",
    }
    assert calls(ast.parse("eval('1'); yaml.load(x)")) == {"eval", "yaml.load"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_imports_pickle_or_runs_text(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert names(tree) & MODULES == set()
    assert calls(tree) & (CALLS | {f"yaml.{name}" for name in YAML}) == set()


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
def test_a_job_of_ours_travels_through_celery_as_json_whatever_its_tasks_do(serializer: str) -> None:
    bench = Bench(task_serializer=serializer)
    wrapper(bench.app).apply_async((envelope().encode().decode(),))
    (message,) = bench.waiting()
    bench.close()

    assert message.content_type == "application/json"
    ((data,), _, _) = json.loads(message.body)
    assert Envelope.decode(data)


def test_a_job_of_ours_travels_through_dramatiq_as_json() -> None:
    broker = StubBroker()
    declare(broker, queue_name="default")
    broker.actors[NAME].send(envelope().encode().decode())
    data = broker.queues["default"].get_nowait()
    broker.close()

    assert isinstance(dramatiq.get_encoder(), dramatiq.JSONEncoder)
    assert Envelope.decode(json.loads(data)["args"][0])


@pytest.mark.services
def test_a_job_of_ours_travels_through_rq_as_json() -> None:
    require("Redis")
    job = envelope()
    with servers.queue() as here:
        queues = RqAdapter(RqSettings(url=REDIS, prefix=here.name))
        with testing.override(adapter="rq", rq={"url": REDIS, "prefix": here.name}):
            queues.enqueue(job)
        found = here.connection.hget(f"rq:job:{job.id}", "data")
        queues.close()

    import zlib

    name, _, (data,), _ = json.loads(zlib.decompress(found))  # type: ignore[arg-type]  # redis types both its clients
    assert name == RQ_NAME
    assert Envelope.decode(data) == job
