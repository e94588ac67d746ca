"""Going on behind what other processes appended: see log_follow.pyx."""

from rango._ext.appender import Appender
from rango._ext.segment import SegmentHeader
from rango._ext.segment_scan import Scanner
from rango._ext.store import Store

def appender_follow(
    appender: Appender,
    headers: list[SegmentHeader],
    fd: int,
    position: int,
    ordinal: int,
    chain: bytes,
    is_closed: bool,
) -> None: ...
def follow_near(store: Store, scanner: Scanner) -> bool: ...
def appender_mend(appender: Appender) -> None: ...
