"""Extended JSON: every BSON value as JSON text and back, for exchange with MongoDB's tools.

Terms       wrapper: a JSON object that stands for one value, such as `{"$oid": "..."}`. canonical:
            every type is kept. relaxed: numbers and usual dates are plain. legacy: the forms that
            came before version 2. JSON Lines: one document for each line.
Invariants  What dumps() writes, loads() reads as an equal value of the same BSON type; in relaxed
            text an int64 in the range of an int32 becomes an int32, which is the format's loss.
            JSON is RFC 8259: nothing else is read (NaN, comments, single quotes).
Failure     InvalidJson names line and column, or the path of the value; InvalidDocument the path
            of a value that BSON does not have.
Sources     mongodb/specifications extended-json.md and bson-corpus.md; RFC 8259; RFC 3339;
            docs/adr/0020-extended-json.md.
"""

from rango.extended_json.reading import loads
from rango.extended_json.streams import dump_array, dump_lines, load_array, load_lines
from rango.extended_json.writing import dumps

__all__ = ["dump_array", "dump_lines", "dumps", "load_array", "load_lines", "loads"]
