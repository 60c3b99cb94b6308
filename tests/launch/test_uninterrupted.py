import os
import signal
import subprocess
import sys

import pytest

from launch.uninterrupted import uninterrupted

CHILD = "import time; time.sleep(0.3); print('done')"


def interrupt(*processes):
    for process in processes:
        os.kill(process, signal.SIGINT)


def test_a_signal_waits_for_the_end_of_the_block():
    done = []

    def block():
        with uninterrupted():
            interrupt(os.getpid())
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_command_of_the_block_is_not_cut_off():
    said = []

    def block():
        with uninterrupted():
            command = [sys.executable, "-c", CHILD]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            interrupt(child.pid, os.getpid())  # as a terminal does
            said.append((child.communicate()[0], child.returncode))

    with pytest.raises(KeyboardInterrupt):
        block()
    assert said == [("done\n", 0)]


def test_the_handler_that_was_there_is_told():
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            assert told == []
        assert told == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_of_the_block_is_not_hidden():
    with pytest.raises(ValueError, match="own"), uninterrupted():
        raise ValueError("own")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
