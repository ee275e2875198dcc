"""How much processor time a thread has used."""

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
    poll(lambda: clocks, "its clock")
    assert (processor_time(clocks[0]) > 0) is bool(clocks[0])
    done.set()
    thread.join()
    poll(lambda: processor_time(clocks[0]) == 0.0, "the system to have forgotten it")
