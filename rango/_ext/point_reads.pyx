"""The read of one document by its `_id`, in one call from Python: that of find_one itself.

Invariants  What find() gives, a query for this `_id` outside of any transaction would give at this
            moment. Whatever is unusual, and every error, is left to the general way: a filter
            that says more, a transaction, a closed handle, a page that somebody else reused.
            A collection's find_one is a method of compiled code, as what Python does around the
            call (a frame, three attributes) took an eighth of it.
Failure     NotImplemented: the general way.
"""

from cpython.contextvars cimport get_value
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.set cimport PySet_Contains
from rango._ext.core_state cimport CoreState
from rango._ext.store cimport Store
from rango._ext.view cimport View

cimport cython

from rango.errors import PageCorrupted


@cython.final
cdef class PointReads:
    """Those of one handle."""

    def __init__(self, CoreState core not None, transactions, frozenset id_types not None):
        self.core = core
        self.transactions = transactions
        self.id_types = id_types

    def find(self, str name not None, filter):
        """The document that the filter names, or None; NotImplemented: the general way.

        The filter is `{"_id": value}` or the value.
        """
        return self.found(name, filter)

    cdef object found(self, str name, object filter):  # hot
        cdef PyObject *found
        cdef View view
        cdef object value = filter
        cdef object tree
        if type(filter) is dict:
            if len(<dict>filter) != 1:
                return NotImplemented
            found = PyDict_GetItem(filter, "_id")
            if found == NULL:
                return NotImplemented
            value = <object>found
        if not PySet_Contains(self.id_types, type(value)) or get_value(self.transactions, ()):
            return NotImplemented
        if self.is_closed or type(self.core.store) is not Store:
            return NotImplemented
        view = (<Store>self.core.store).newest()
        tree = view.trees.get(name)
        if tree is None:
            return None
        try:
            return view.find_id(tree, value)
        except PageCorrupted:
            return NotImplemented

    def close(self) -> None:
        """Leave everything to the general way from now on."""
        self.is_closed = True
        self.core = None


cdef class PointReader:
    """What a collection is in compiled code: its handle, its name, and find_one."""

    def __init__(self, handle, str name not None):
        self._handle = handle
        self._name = name
        self.reads = handle.point_reads

    def find_one(self, filter=None, projection=None, **options):  # hot
        """The first document that matches, or None.

        `filter` may also be an `_id` that is not a mapping. The other arguments are those of
        find(). Raises InvalidFilter.
        """
        cdef object found
        if self.reads is not None and projection is None and not options:
            found = self.reads.found(self._name, filter)
            if found is not NotImplemented:
                return found
        return self._find_one(filter, projection, options)
