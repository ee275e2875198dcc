"""The watchdog: takes the loop away from a thread that is too long in one call, and times out calls that hang.

Every `handoff` seconds it checks whether the leader is still in the call that it was in before. If so, an idle thread
leads from then on (`handoff.py`); if no thread is idle, the call blocks the loop, and `blocked` is called with the
time. A worker that reports neither that it waits nor that it is blocked is hung, for instance in C code that never
releases the interpreter. Calls outside the loop are checked less often. One that shows no progress for `timeout` is
timed out: its client is answered, and the stack of its thread logged. The thread itself cannot be ended. Once half of
the threads are stuck like that, `too_many_stuck` is called, and the worker asks to be replaced.

The watchdog sleeps while nothing is called.
"""

import sys
import traceback
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from wsgiserver.eventloop.handoff import InFlightCall, LeaderFollowers
from wsgiserver.eventloop.thread_clock import processor_time
from wsgiserver.serving.connection import Connection
from wsgiserver.telemetry.log import event

MAX_GAP: Final = 1.0  # seconds; a longer gap between checks means that the process was suspended: not the call's fault
CHECK_INTERVAL: Final = 0.1  # seconds between checks of calls that take long: they are timed out to within that
IDLE_TICKS: Final = 200  # ticks without a call until the watchdog sleeps for good
COMPUTING_SHARE: Final = 0.2  # of the time a thread had a processor: less, and it was waiting for something else


class Watchdog:
    """See above. `run` is for a thread of its own. Durations are seconds; a `timeout` of 0 is never."""

    def __init__(
        self,
        team: LeaderFollowers,
        *,
        timed_out: Callable[[Connection], None],
        blocked: Callable[[float], None],
        too_many_stuck: Callable[[], None],
        timeout: float,
    ) -> None:
        self._team = team
        self._timed_out = timed_out
        self._blocked = blocked
        self._too_many_stuck = too_many_stuck
        self._timeout = timeout
        self._tick = team.handoff if team.threads > 1 else CHECK_INTERVAL
        self._checked = monotonic()
        self._idle_ticks = 0
        # Of the leader's call: its number, when it was first seen, the leader's processor time then, and what is known
        # of it if nobody else can lead.
        self._seen = 0
        self._since = self._computed = 0.0
        self._blocking: InFlightCall | None = None

    def run(self) -> None:
        while not self._is_over_after_a_tick():
            now = monotonic()
            self._check_leader(now)
            if now - self._checked >= CHECK_INTERVAL and self._timeout:
                self._check_calls(min(now - self._checked, MAX_GAP))
                self._checked = now
        self._team.finish()  # with a thread that hand_off may have had in hand when the others were let go

    def _is_over_after_a_tick(self) -> bool:
        sleep(self._tick)
        return self._team.finished

    def _check_leader(self, now: float) -> None:
        team = self._team
        if team.calls != self._seen:
            self._seen, self._idle_ticks, self._blocking = team.calls, 0, None
            self._since, self._computed = now, processor_time(team.leader_clock)
        elif team.leader_call is not None and not self._relieve_leader(now):
            self._blocking = self._blocking or InFlightCall(team.leader)
            self._blocked(now)
        elif self._idle_ticks < IDLE_TICKS or team.busy:
            self._idle_ticks += 1
        else:
            team.sleep_until_called(self._seen)

    def _relieve_leader(self, now: float) -> bool:
        """Have an idle thread lead; returns whether the call no longer blocks the loop."""
        computed = processor_time(self._team.leader_clock) - self._computed
        return self._team.hand_off(is_slow=computed < COMPUTING_SHARE * (now - self._since))

    def _check_calls(self, elapsed: float) -> None:
        """Time out the calls that have shown no progress for `timeout`; `elapsed` is the time since the last check."""
        calls = self._team.calls_in_flight()
        blocked = self._team.leader_call
        if self._blocking is not None and blocked is not None:
            calls.append((blocked, self._blocking))
        stuck = 0
        for connection, call in calls:
            stuck += call.timed_out or self._is_stuck(connection, call, elapsed)
        if 2 * stuck >= self._team.threads:
            self._too_many_stuck()

    def _is_stuck(self, connection: Connection, call: InFlightCall, elapsed: float) -> bool:
        """Say whether the call had to be timed out, now."""
        exchange = connection.exchange
        if not call.is_idle_for(self._timeout, elapsed, exchange.response, exchange.progress):
            return False
        frame = sys._current_frames().get(call.thread)  # noqa: SLF001 - documented for just this
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        if exchange.time_out(call.response, self._timeout, stack):
            call.note_time_out()
            self._timed_out(connection)
        elif exchange.response is call.response:  # the response is whole, and still the thread does not return
            call.note_time_out()
            event("close-timeout", after_seconds=self._timeout, stack=stack)
        return call.timed_out
