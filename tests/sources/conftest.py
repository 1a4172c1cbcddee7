"""A clock for tests of waiting, which do not wait."""

import pytest


class StoppedClock:
    """Stands for the module `time`: time passes by what is waited, which is noted.

    Functions in `meanwhile` are called, one each, at the beginning of a wait.
    """

    def __init__(self):
        self.now = 1000.0
        self.waits = []
        self.meanwhile = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.now += seconds


@pytest.fixture
def stopped_clock(monkeypatch):
    """Function that gives a module such a clock."""

    def stop(module):
        clock = StoppedClock()
        monkeypatch.setattr(module, "time", clock)
        return clock

    return stop
