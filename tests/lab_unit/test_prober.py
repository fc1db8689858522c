"""The outage that the speed table shows is from the first failed to the first good answer. A measure that starts late,
ends early or counts one restart as two (or two as one) would make every number in the table wrong."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hypothesis import given
from hypothesis import strategies as st

from lab.prober import Outage, Prober, Sample, outages, probe


def samples(pattern: str, period: float = 0.25, took: float = 0.125) -> list[Sample]:
    """One sample a `period`; + is a good answer, - a failed one. Times are exact in binary."""
    return [Sample(i * period, i * period + took, mark == "+") for i, mark in enumerate(pattern)]


def test_no_failure_is_no_outage() -> None:
    assert outages(samples("+++++")) == []
    assert outages([]) == []


def test_from_the_start_of_the_first_failed_to_the_end_of_the_first_good() -> None:
    assert outages(samples("++---++")) == [Outage(seconds=3 * 0.25 + 0.125, failed=3)]


def test_two_restarts_are_two_outages() -> None:
    assert outages(samples("+--+++++++-+")) == [Outage(0.625, 2), Outage(0.375, 1)]


def test_a_good_answer_in_between_does_not_end_an_outage() -> None:
    # The good answer ends 0.125 s before the next failure begins: less than the 0.5 s that part two outages.
    assert outages(samples("+--+--++++")) == [Outage(5 * 0.25 + 0.125, 4)]
    assert len(outages(samples("+--+--++++"), merge=0.0)) == 2


def test_an_outage_that_did_not_end_says_so() -> None:
    assert outages(samples("++--")) == [Outage(0.375, 2, ended=False)]


@given(st.text("+-", max_size=60))
def test_every_failed_request_is_in_one_outage(pattern: str) -> None:
    found = outages(samples(pattern))
    assert sum(outage.failed for outage in found) == pattern.count("-")
    assert all(outage.seconds > 0 for outage in found)
    assert [outage.ended for outage in found].count(False) == (1 if pattern.endswith("-") else 0)


class Moody(BaseHTTPRequestHandler):
    """Answers 200 or 503 as the test says, and counts."""

    status = 200
    served = 0

    def do_GET(self) -> None:
        type(self).served += 1
        self.send_response(self.status if self.path == "/_matrix/client/versions" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_process_sees_an_outage() -> None:
    class Handler(Moody):
        pass

    def some_requests_later() -> None:
        until = Handler.served + 5
        deadline = time.monotonic() + 30
        while Handler.served < until:
            assert time.monotonic() < deadline, "the prober does not ask"
            time.sleep(0.01)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            assert probe(url)
            with Prober(url) as prober:
                some_requests_later()
                Handler.status = 503
                assert not probe(url)
                some_requests_later()
                Handler.status = 200
                some_requests_later()
            assert len(prober.outages) == 1
            assert prober.outages[0].ended
            assert prober.outages[0].failed > 1
            assert prober.samples[0].good and prober.samples[-1].good
        finally:
            server.shutdown()
            thread.join()
    assert not probe(url), "nobody listens any more"
