"""The lock of the in-process index: readers beside each other, one writer alone, and no writer kept waiting."""

from __future__ import annotations

import threading

import pytest

from projections.edge_sharing import Sharing

pytestmark = pytest.mark.unit


def test_readers_are_inside_together() -> None:
    """Two that wait for each other inside both come out again."""
    sharing, both = Sharing(), threading.Barrier(2, timeout=10)

    def read() -> None:
        with sharing.reading():
            both.wait()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_a_writer_is_alone() -> None:
    """Neither a reader nor another writer ever sees the middle of its work."""
    sharing, seen = Sharing(), list[int]()
    pair = [0, 0]

    def write() -> None:
        for _ in range(300):
            with sharing:
                pair[0] += 1
                threading.Event().wait(0)
                pair[1] += 1

    def read() -> None:
        for _ in range(300):
            with sharing.reading():
                seen.append(pair[0] - pair[1])

    threads = [threading.Thread(target=work) for work in (write, write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pair == [600, 600]
    assert set(seen) == {0}


def test_a_writer_that_waits_comes_before_new_readers() -> None:
    """Readers without end do not keep it out; after an error inside, the lock is free again."""
    sharing, order = Sharing(), list[str]()
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with sharing.reading():
            inside.set()
            leave.wait(10)

    def write() -> None:
        with sharing:
            order.append("writer")

    def late() -> None:
        with sharing.reading():
            order.append("reader")

    reader = threading.Thread(target=first)
    reader.start()
    inside.wait(10)
    writer = threading.Thread(target=write)
    writer.start()
    while not sharing._writers:
        threading.Event().wait(0.001)
    newcomer = threading.Thread(target=late)
    newcomer.start()
    leave.set()
    for thread in (reader, writer, newcomer):
        thread.join()
    assert order == ["writer", "reader"]
    with pytest.raises(ZeroDivisionError), sharing:
        raise ZeroDivisionError
    with sharing.reading(), sharing.reading():
        order.append("free")
