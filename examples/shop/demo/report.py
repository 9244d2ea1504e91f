"""How it went, account by account, and what is proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.shop.demo.evidence import Evidence
from examples.shop.demo.proofs import Proof

COLUMNS = ("requests", "enqueued", "performed", "retried", "failed", "refused", "waited p50", "p99 ms")
SHOWN = 3  # of what speaks against a proof
INDENT = " " * 5


def print_table(console: Console, evidence: Evidence) -> None:
    """A line for each account, the largest first, and one for all."""
    requests = Counter(answer.request.account for answer in evidence.answers)
    table = Table("account", box=box.SIMPLE_HEAD, show_footer=True, show_edge=False, pad_edge=False)
    lines = [(account, line(evidence, account)) for account, _ in requests.most_common()]
    for column, total in zip(COLUMNS, line(evidence, None), strict=True):
        table.add_column(column, justify="right", footer=total)
    table.columns[0].footer = f"{len(lines)} accounts"
    for account, cells in lines:
        table.add_row(account, *cells)
    console.print()
    console.print(table)


def line(evidence: Evidence, account: str | None) -> list[str]:
    """The numbers of one account, or of all."""

    def is_its(owner: str) -> bool:
        return account is None or owner == account

    jobs = [job for job in evidence.jobs if is_its(job.tenant)]
    ends = Counter(record.status for record in evidence.records if is_its(record.tenant_id))
    waits = sorted(job.waited for job in jobs if job.waited is not None)
    counts = (
        sum(is_its(answer.request.account) for answer in evidence.answers),
        len(jobs),
        sum(job.state == "finished" for job in jobs),
        sum(is_its(tenant) for tenant in evidence.retries),
        ends["failed"],
        ends["refused"],
    )
    return [*(f"{count:,}" for count in counts), percentile(waits, 50), percentile(waits, 99)]


def percentile(ordered: Sequence[float], share: int) -> str:
    return f"{ordered[ceil(len(ordered) * share / 100) - 1]:,.0f}" if ordered else "-"


def print_proofs(console: Console, proofs: Sequence[Proof]) -> None:
    """A line for each proof, its numbers below it, and the first of what speaks against it."""
    console.print()
    for proof in proofs:
        verdict = Text("PASS", "bold green") if proof.holds else Text("FAIL", "bold red")
        against = list(proof.against[:SHOWN])
        if len(proof.against) > SHOWN:
            against.append(f"... and {len(proof.against) - SHOWN:,} more")
        console.print(verdict, Text(proof.claim, "bold"), soft_wrap=True)
        console.print(Text(INDENT + proof.numbers), soft_wrap=True)
        for fact in against:
            console.print(Text(INDENT + fact, "red"), soft_wrap=True)
