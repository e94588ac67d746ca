"""BSON dumps, many documents at a time: see dump_reader.pyx."""

def dump_read(
    text: bytes,
    at: int,
    count_max: int,
    size_max: int,
    document_size_max: int,
    datas: list[bytes],
    ends: list[int],
    without_id: list[int],
) -> int:
    """Take the documents of a dump that are ready, from `at` on; as json_reader.lines_read().

    It also stops before a document that the end of `text` cuts.
    """
