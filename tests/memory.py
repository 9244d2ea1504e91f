"""Folders of tests in memory: they commit to SQLite all the time, no power fails, and a disk is waited for each time.

What a killed process has written is there as it is on a disk.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes


def use() -> None:
    """Make temporary folders there, if nobody has said where, there is room, and what is in them may be run."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
            tempfile.tempdir = str(MEMORY)
