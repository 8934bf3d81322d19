"""Tests in which a time-out of the host could hit somebody innocent, because the machine is slow just now.

    @unhurried
    def test_who_answers_pings_stays(ms):
        with Host("--idle-timeout", ms(1000)) as host:

The test runs with the times that stand there. If it fails it runs again with four times as long, and then with sixteen times: who fails at
last was wrong, not late. What has to keep pace with a time-out takes ms.times as a factor.
"""
import functools
import inspect

TIMES = (1, 4, 16)


class Milliseconds:
    def __init__(self, times):
        self.times = times

    def __call__(self, n):
        """As a value of an option."""
        return f"{n * self.times}ms"


def unhurried(test):
    @functools.wraps(test)
    def run(**fixtures):
        for times in TIMES:
            try:
                return test(**fixtures, ms=Milliseconds(times))
            except Exception as error:  # not that it was skipped, or interrupted
                if times == TIMES[-1]:
                    raise
                print(f"with {times} times its times: {error!r}")

    asks = inspect.signature(test)
    run.__signature__ = asks.replace(parameters=[p for p in asks.parameters.values() if p.name != "ms"])
    return run
