"""The BSON codec and the filter, 1,000 documents a time."""

from __future__ import annotations

from rango._ext import record
from rango._ext.filter import compile_filter

from .workload import Workload

COUNT = 1000
FILTER = {"importance": {"$gte": 0.8}, "kind": {"$in": ["fact", "plan"]}}


class Codec:
    """Python objects to bytes and back."""

    def setup(self) -> None:
        """The documents, and their bytes."""
        self.documents = Workload(COUNT).documents
        self.data = [record.encode(document) for document in self.documents]
        self.records = [record.record_build(data, 0, 0, 0, 0, 0, b"node") for data in self.data]
        self.program = compile_filter(FILTER)

    def time_encode(self) -> None:
        """As insert_one does."""
        for document in self.documents:
            record.encode(document)

    def time_decode(self) -> None:
        """Foreign bytes: checked, then decoded."""
        for data in self.data:
            record.decode(data)

    def time_validate(self) -> None:
        """The check alone."""
        for data in self.data:
            record.validate(data)

    def time_filter_compile(self) -> None:
        """As every find does."""
        compile_filter(FILTER)

    def time_filter_match(self) -> None:
        """Over record bytes, one call each."""
        for data in self.records:
            self.program.matches(data)
