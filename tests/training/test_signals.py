"""Signals set a flag that is asked for."""

import os
import signal

import pytest

from harmony.training.signals import Stopped, StopSignals


def send(signum):
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_raised_where_it_is_asked_for(signum, code):
    with StopSignals() as stop:
        stop.check()
        send(signum)  # nothing is raised here
        with pytest.raises(Stopped, match=f"^{signal.Signals(signum).name}$") as caught:
            stop.check()
    assert caught.value.signum == signum
    assert caught.value.exit_code == code


def test_it_stays_asked_for():
    with StopSignals() as stop:
        send(signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Stopped):
                stop.check()


def test_a_second_interrupt_is_at_once():
    with StopSignals():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_an_interrupt_after_a_termination_still_waits():
    with StopSignals() as stop:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        with pytest.raises(Stopped) as caught:
            stop.check()
    assert caught.value.exit_code == 130


def test_the_old_handlers_come_back_whatever_happens():
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    with StopSignals():
        assert not {signal.getsignal(signum) for signum in before} & set(before.values())
    assert {signum: signal.getsignal(signum) for signum in before} == before
    with pytest.raises(ZeroDivisionError), StopSignals():
        raise ZeroDivisionError
    assert {signum: signal.getsignal(signum) for signum in before} == before
