"""Import and export: documents between a collection and a file, stream or standard input.

Terms       source: what is read; unit: one document of it as it stands there (a line, an element of
            an array, a BSON document); number: which unit, from 1 (for JSON Lines the line);
            refused: a unit that is no document or that the database does not take.
Invariants  Memory is bounded by one batch, whatever the size of the source. What is exported as
            canonical Extended JSON or as BSON is imported as equal documents of the same types.
Sources     docs/howto/import-export.md; docs/adr/0023-resumable-imports.md.
"""

from rango.transfer.exporting import ExportReport, export_documents
from rango.transfer.importing import ImportReport, Refusal, import_documents

__all__ = [
    "ExportReport",
    "ImportReport",
    "Refusal",
    "export_documents",
    "import_documents",
]
