"""Snapshots and scans: what they keep, and how they end."""

from __future__ import annotations

import gc
import random
from contextlib import suppress
from pathlib import Path

import pytest

from rango._ext.scan import Scan
from rango.errors import PageCorrupted, RangoError
from tests.unit.engine_case import threads
from tests.unit.store_case import DOCUMENTS, INDEX, StoreCase, drained, stamped


def filled(folder: Path, count: int = 500) -> StoreCase:
    case = StoreCase(folder, page_size=512, cache=1)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    for n in range(count):
        case.commit([case.put(b"%05d" % n, b"x" * 40, (b"v%d" % (n % 5), b"w"))])
    case.checkpoint()
    return case


def test_a_scan_keeps_its_snapshot_over_checkpoints(tmp_path: Path) -> None:
    case = filled(tmp_path)
    expected = case.model.scan(DOCUMENTS, None, None, False)
    scan = case.store.head.scan(DOCUMENTS, None, None, False, None)
    found = scan.next_records(10)
    for turn in range(6):
        case.commit([case.put(b"%05d" % n, b"%d" % turn * 40) for n in range(0, 500, 3)])
        case.checkpoint()
        gc.collect()
        found += scan.next_records(20)
    while piece := scan.next_records(50):
        found += piece
    assert found == expected
    case.close()


@pytest.mark.parametrize("is_reverse", [False, True])
@pytest.mark.parametrize(
    "bounds",
    [
        (b"", b""),
        (None, b""),
        (b"", None),
        (b"00010", b"00010"),
        (b"00020", b"00010"),
        (b"00499", None),
        (b"00499\0", None),
        (None, b"00000"),
        (None, b"00000\0"),
        (b"9", None),
    ],
)
def test_bounds_at_the_edges(
    tmp_path: Path, bounds: tuple[bytes | None, bytes | None], is_reverse: bool
) -> None:
    case = filled(tmp_path)
    for _ in range(2):
        for tree in (DOCUMENTS,):
            scan = case.store.head.scan(tree, *bounds, is_reverse, None)
            assert scan.next_records(1000) == case.model.scan(tree, *bounds, is_reverse)
            assert scan.next_records(1) == []
        # again with both an overlay and neighbours of this tree in it
        case.commit([case.drop(b"%05d" % n) for n in range(0, 500, 2)])
        case.commit([case.put(b"%05d!" % n, b"y", (b"v",)) for n in range(0, 500, 5)])
    case.close()


def test_a_scan_that_failed_is_done(tmp_path: Path) -> None:
    case = filled(tmp_path)
    data = Path(case.path).read_bytes()
    for door in ("next_records", "next_entries", "count"):
        for _ in range(2):
            scan = case.store.head.scan(DOCUMENTS, None, None, False, None)
            if door != "count":
                assert getattr(scan, door)(5)
            Path(case.path).write_bytes(bytes(len(data)))
            case.pager.forget_cache()
            with pytest.raises(PageCorrupted):
                if door == "count":
                    scan.count()
                else:
                    getattr(scan, door)(1000)
            Path(case.path).write_bytes(data)
            assert scan.next_records(5) == [] and scan.next_entries(5) == []
    case.close()


def test_a_scan_can_be_closed_at_any_time(tmp_path: Path) -> None:
    case = filled(tmp_path)
    scan = case.store.head.scan(DOCUMENTS, None, None, True, None)
    scan.close()
    assert scan.next_records(5) == []
    scan = case.store.head.index_scan(INDEX, DOCUMENTS, None, None, False, None)
    assert len(scan.next_records(5)) == 5
    scan.close()
    scan.close()
    assert scan.next_records(5) == [] and scan.count() == 5
    case.close()


def test_threads_that_share_a_scan_get_an_error_not_each_others_memory(tmp_path: Path) -> None:
    case = filled(tmp_path, 2000)

    def work(scan: Scan) -> None:
        with suppress(RangoError):
            for _ in range(200):
                if not scan.next_records(20):
                    scan.close()

    for _ in range(10):
        scan = case.store.head.scan(DOCUMENTS, None, None, False, None)
        with threads(*[lambda scan=scan: work(scan)] * 4):
            pass
    case.close()


def test_large_records_come_a_few_at_a_time(tmp_path: Path) -> None:
    case = StoreCase(tmp_path)
    case.define(DOCUMENTS, b"documents")
    case.commit([case.put(b"%02d" % n, b"%d" % n * 1_000_000) for n in range(12)])
    case.checkpoint()
    scan = case.store.head.scan(DOCUMENTS, None, None, False, None)
    assert scan.next_records(12) == case.model.scan(DOCUMENTS, None, None, False)
    assert scan.next_records(1) == []
    assert case.store.head.scan(DOCUMENTS, None, None, False, None).count() == 12
    case.close()


def test_get_sees_overlay_base_and_tombstones(tmp_path: Path) -> None:
    case = filled(tmp_path, 20)
    record = stamped(case.put(b"00003", b"new").record, case.ordinal + 1)
    case.commit([case.put(b"00003", b"new"), case.drop(b"00004")])
    view = case.store.head
    assert view.get(DOCUMENTS, b"00003") == record
    assert view.get(DOCUMENTS, b"00004") is None and view.get(DOCUMENTS, b"") is None
    assert view.get(77, b"00003") is None and view.count(77) == 0
    assert drained(view.scan(77, None, None, False, None), random.Random(1)) == []
    case.close()
