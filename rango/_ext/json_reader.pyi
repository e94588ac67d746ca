"""JSON Lines to BSON: see json_reader.pyx."""

def lines_read(
    text: bytes,
    at: int,
    count_max: int,
    size_max: int,
    document_size_max: int,
    datas: list[bytes],
    ends: list[int],
    without_id: list[int],
) -> int:
    """Read the lines of a text that are ready, from `at` on; returns where it stopped.

    Appends the BSON of each, `_id` first, to `datas`, and where its line ends to `ends`; to
    `without_id` the places in `datas` of those that have no `_id`. It stops at the end of the
    text, before a line that is not ready (of white space, wrong, or merely unusual), and after
    `count_max` documents or `size_max` bytes of BSON.
    """
