"""Oplog framing: see frame.pyx."""

def header_pack(
    body_size: int,
    kind: int,
    ordinal: int,
    first_ordinal: int,
    durable: int,
    previous: bytes,
    nonce: bytes,
    flags: int = 0,
) -> bytes: ...
def header_unpack(data: bytes) -> tuple[int, int, int, int, int, bytes, bytes] | None: ...
def aad_pack(database_id: bytes, segment_id: int, offset: int, header: bytes) -> bytes: ...
def chain_step(chain: bytes, frame: bytes) -> bytes: ...
