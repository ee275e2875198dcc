"""The processor time of a thread."""

import threading

from tests.wire.polling import PATIENCE, poll
from wsgiserver.eventloop.thread_clock import own_clock, processor_time


def test_the_processor_time_of_a_thread_that_has_ended_is_zero() -> None:
    clocks: list[int] = []
    done = threading.Event()

    def work() -> None:
        clocks.append(own_clock())
        done.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    poll(lambda: clocks, "the clock of the thread")
    assert (processor_time(clocks[0]) > 0) is bool(clocks[0])
    done.set()
    thread.join()
    poll(lambda: processor_time(clocks[0]) == 0.0, "the system to remove the thread")
