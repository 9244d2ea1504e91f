from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tenantjobs import signals


class Told:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stop(self) -> None:
        self.told.append("stop")

    def halt(self) -> None:
        self.told.append("halt")

    def quiet(self) -> None:
        self.told.append("quiet")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGTERM, "stop"),
        (signal.SIGINT, "stop"),
        (signal.SIGQUIT, "halt"),
        (signal.SIGTSTP, "quiet"),
    ],
)
@pytest.mark.parity("1b.23")
def test_each_signal_says_one_thing(number: signal.Signals, told: str) -> None:
    who = Told()
    before = signal.getsignal(number)

    with signals.obeyed(who):
        os.kill(os.getpid(), number)

    assert who.told == [told]
    assert signal.getsignal(number) is before


def test_a_signal_that_came_too_early_is_obeyed_later() -> None:
    who = Told()
    signals.hold()
    os.kill(os.getpid(), signal.SIGTERM)

    with signals.obeyed(who):
        assert who.told == ["stop"]


def test_a_process_that_is_started_with_signals_blocked_obeys_when_it_can() -> None:
    code = (
        "import sys, time; sys.stdin.read()\n"
        "from tenantjobs import signals\n"
        "class Who:\n"
        "    def stop(self): sys.exit(7)\n"
        "signals.hold()\n"
        "with signals.obeyed(Who()): time.sleep(30)\n"
    )
    with signals.blocked():
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    process.send_signal(signal.SIGTERM)
    process.communicate(b"", timeout=30)

    assert process.returncode == 7
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_bell_is_heard_though_the_signal_comes_to_another_thread() -> None:
    bell = signals.Bell()
    signal.signal(signal.SIGTERM, lambda *_: bell.ring())
    striker = threading.Timer(0.05, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    striker.start()

    bell.wait()

    assert bell.rung
    striker.join()


def test_a_bell_that_has_rung_is_not_waited_for() -> None:
    bell = signals.Bell()
    bell.ring()

    bell.wait()
    bell.wait()
    assert bell.rung


def test_a_thread_gets_no_signals_and_disturbs_nobody() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def serve() -> None:
        with signals.obeyed(Told()):
            assert signal.getsignal(signal.SIGTERM) is before

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert signal.getsignal(signal.SIGTERM) is before
