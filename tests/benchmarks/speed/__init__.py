"""``python -m tests.benchmarks speed``: our queue beside the named peers, in one run, and the page that says so.

Jobs note when they start in memory that all processes share (``starts``), so that no queue measures itself. A queue is
driven by processes of its own (``agent``): those of ours run in this environment, those of peers in ``.venvs/peers``.
``rows`` says what is measured against what, ``measures`` how, and ``page`` makes ``docs/benchmarks.md`` of it.
"""
