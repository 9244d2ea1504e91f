"""The environment of the peers, on the Python that runs this: what ``pyproject.toml`` pins, and nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENVIRONMENT = ROOT / ".venvs" / "peers"
STAMP = ENVIRONMENT / "peers.json"
PEERS = {"of_pgqueuer": "pgqueuer", "of_huey": "huey"}  # the sides that run there, and what they are of
VERSIONS = """
import json, sys
from importlib import metadata
print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))
"""


def python_of(side: str) -> str:
    """The interpreter for processes of this side."""
    return str(ENVIRONMENT / "bin" / "python") if side in PEERS else sys.executable


def prepare() -> None:
    """Make the environment, unless it is there with these pins and this Python."""
    wanted = json.dumps([sys.version, *pins()])
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print(f"making an environment for the peers: {', '.join(pins())}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True, cwd=ROOT)
    subprocess.run([*pip, "--group", "peers"], check=True, cwd=ROOT)
    STAMP.write_text(wanted)


def pins() -> list[str]:
    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["peers"]
    return found


def versions(names: Iterable[str]) -> dict[str, str]:
    """What is installed there."""
    command = [python_of("of_huey"), "-c", VERSIONS, *names]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found
