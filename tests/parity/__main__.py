"""Write docs/parity.md: ``python -m tests.parity``."""

from __future__ import annotations

from tests.parity.page import PAGE, render

PAGE.write_text(render())
