"""Events and the life of a process: forks, ends of every kind, and loops that run already, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from sdk.tests.collectors import DEADLINE_S, Hang, collecting, nobody
from sdk.tests.twin import KEY

_HEAD = f"""
import asyncio, os, sys, threading, time
from castledger import AsyncCastledger, Castledger
url = sys.argv[1]
def blocking(**options):
    return Castledger("{KEY}", collector_url=url, **options)
def asynchronous(**options):
    return AsyncCastledger("{KEY}", collector_url=url, **options)
"""


def run(code: str, url: str, *, status: int = 0) -> list[str]:
    """Run a host, warnings as errors, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _HEAD + textwrap.dedent(code), url],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == status, done.stderr
    if not status:
        assert done.stderr == ""
    return done.stdout.split()


ENDS = {
    "normally": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise RuntimeError", 1),
    "a thread's sys.exit": ("threading.Thread(target=sys.exit).start()", 0),
    "a daemon thread at work": ("threading.Thread(target=time.sleep, args=(99,), daemon=True).start()", 0),
    "an atexit function": ("import atexit; atexit.register(print)", 0),
}


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("client", ["blocking", "asynchronous"])
def test_a_process_that_ends_sends_what_waits(client: str, end: str, status: int) -> None:
    with collecting() as collector:
        run(
            f"""
            client = {client}(flush_interval=3600)
            for _ in range(150):
                client.track("signup")
            {end}
            """,
            collector.url,
            status=status,
        )
    assert len({*collector.ids}) == len(collector.ids) == 150


def test_a_loop_that_ends_without_closing_leaves_its_events_to_the_end() -> None:
    with collecting() as collector:
        run(
            """
            client = asynchronous(flush_interval=3600)
            async def main():
                for _ in range(50):
                    client.track("signup")
                # Cancelled while it waits for more.
                await asyncio.sleep(0.05)
            asyncio.run(main())
            """,
            collector.url,
        )
    assert len({*collector.ids}) == len(collector.ids) == 50


def test_what_is_tracked_at_the_very_end_is_sent_or_counted() -> None:
    with collecting() as collector:
        printed = run(
            """
            import atexit
            # Called last of all, since it was registered first.
            atexit.register(lambda: print(client.track("too_late"), dict(client.stats().lost)))
            client = blocking(flush_interval=3600, on_error=lambda error: None)
            import logging
            logging.getLogger("castledger").addHandler(logging.NullHandler())
            atexit.register(lambda: client.track("in_time"))
            """,
            collector.url,
        )
    assert printed == ["None", "{'closed':", "1}"]
    assert [event["type"] for event in collector.accepted] == ["in_time"]


@pytest.mark.parametrize("client", ["blocking", "asynchronous"])
def test_an_end_without_a_collector_is_an_end(client: str) -> None:
    run(
        f"""
        import logging
        logging.getLogger("castledger").addHandler(logging.NullHandler())
        client = {client}()
        client.track("signup")
        """,
        nobody(),
    )
    with collecting(Hang(), Hang()) as collector:
        run(
            f"""
            import logging
            logging.getLogger("castledger").addHandler(logging.NullHandler())
            client = {client}(flush_interval=0.01)
            client.track("signup")
            time.sleep(0.2)
            """,
            collector.url,
        )


def test_a_forked_process_sends_its_own_events_and_its_parent_its_own() -> None:
    with collecting() as collector:
        printed = run(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            client = blocking(flush_interval=0.05)
            mine = [client.track("parent") for _ in range(50)]
            children = []
            for number in range(4):
                child = os.fork()
                if not child:
                    assert client.stats().tracked == client.stats().queued == 0
                    for _ in range(25):
                        client.track("child")
                    sys.exit(0 if client.flush(30) and client.stats().sent == 25 else 1)
                children.append(child)
            print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
            client.track("parent")
            print(client.flush(30), client.stats().sent)
            """,
            collector.url,
        )
    assert printed == ["[0,", "0,", "0,", "0]", "True", "51"]
    kinds = [event["type"] for event in collector.accepted]
    assert (kinds.count("parent"), kinds.count("child")) == (51, 100)
    assert len({*collector.ids}) == 151


def test_a_fork_while_other_threads_track_leaves_no_lock_behind() -> None:
    with collecting() as collector:
        printed = run(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            client = blocking(flush_interval=0.01)
            stop = threading.Event()
            def work():
                while not stop.is_set():
                    client.track("parent")
                    client.stats()
                    # Not faster than one core sends.
                    time.sleep(0.001)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(20):
                child = os.fork()
                if not child:
                    client.track("child")
                    client.close(20)
                    os._exit(0 if client.stats().sent == 1 else 1)
                assert os.waitpid(child, 0)[1] == 0
            stop.set()
            for thread in threads:
                thread.join()
            client.close(30)
            stats = client.stats()
            print(stats.tracked == stats.sent)
            """,
            collector.url,
        )
    assert printed == ["True"]
    assert [event["type"] for event in collector.accepted].count("child") == 20


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_send_before_they_end(method: str) -> None:
    with collecting() as collector:
        run(
            f"""
            import multiprocessing, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            client = blocking(flush_interval=3600)
            client.track("parent")
            context = multiprocessing.get_context("{method}")
            child = context.Process(target=exec, args=('''
            import sys
            from castledger import Castledger
            Castledger("{KEY}", collector_url="''' + url + '''", flush_interval=3600).track("child")
            '''.replace("            ", ""),))
            if __name__ == "__main__":
                child.start()
                child.join()
            """,
            collector.url,
        )
    assert sorted(event["type"] for event in collector.accepted) == ["child", "parent"]


def test_a_forked_process_leaves_its_parents_files_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with collecting() as collector:
        run(
            f"""
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            client = blocking(flush_interval=3600, spool_dir="{folder}")
            client.track("parent")
            while not client.stats().spooled:
                time.sleep(0.01)
            child = os.fork()
            if not child:
                client.track("child")
                # The parent's file is locked still, so that this one sends its own only.
                sys.exit(0 if client.flush(30) and client.stats().sent == 1 and not client.stats().adopted else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert client.stats().on_disk == 1
            """,
            collector.url,
        )
    assert [event["type"] for event in collector.accepted] == ["child", "parent"]
    assert [*folder.glob("*.events")] == []


def test_a_loop_that_runs_already_is_no_hindrance() -> None:
    with collecting() as collector:
        printed = run(
            """
            async def cell():
                client = blocking()
                client.track("blocking")
                # As a notebook's cell would, on the thread of its loop.
                print(client.flush(30))
                client.close()
                async with asynchronous() as client:
                    client.track("asynchronous")
                    print(await client.flush(30))
            asyncio.run(cell())
            """,
            collector.url,
        )
    assert printed == ["True", "True"]
    assert [event["type"] for event in collector.accepted] == ["blocking", "asynchronous"]


def test_signals_and_destructors_may_track() -> None:
    with collecting() as collector:
        printed = run(
            """
            import signal
            client = blocking(flush_interval=0.001)
            def on_signal(number, frame):
                client.track("signal")
            signal.signal(signal.SIGALRM, on_signal)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            class Gone:
                def __del__(self):
                    client.track("gone")
            for _ in range(5000):
                Gone()
                client.track("usual")
            signal.setitimer(signal.ITIMER_REAL, 0)
            client.close(30)
            stats = client.stats()
            print(stats.tracked >= 10000, stats.tracked == stats.sent)
            """,
            collector.url,
        )
    assert printed == ["True", "True"]


def test_memory_is_bounded_without_a_collector() -> None:
    printed = run(
        """
        import logging, resource
        logging.getLogger("castledger").addHandler(logging.NullHandler())
        client = blocking(queue_size=1000)
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2000):
            client.track("signup", properties={"padding": "x" * 500})
        before = peak()
        for _ in range(50_000):
            client.track("signup", properties={"padding": "x" * 500})
        stats = client.stats()
        print(peak() - before < 20_000, stats.queued <= 1000 + 200, stats.tracked + stats.lost["queue_full"])
        """,
        nobody(),
    )
    assert printed == ["True", "True", "52000"]
