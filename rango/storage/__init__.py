"""Bytes at rest: keys, superblock, oplog, locks, checks. Knows pages and frames, not documents."""
