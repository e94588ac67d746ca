"""Going on behind what other processes appended: see log_follow.pyx."""

from rango._ext.appender import Appender
from rango._ext.segment import SegmentHeader

def appender_follow(
    appender: Appender,
    headers: list[SegmentHeader],
    fd: int,
    position: int,
    ordinal: int,
    chain: bytes,
    is_closed: bool,
) -> None: ...
def appender_mend(appender: Appender) -> None: ...
