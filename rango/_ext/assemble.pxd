# From the normal form of a filter to the steps of a program.

from rango._ext.match cimport FilterFold, FilterProgram


cdef class Code:
    cdef FilterProgram program
    cdef FilterFold *fold       # or NULL
    cdef list held              # owns what the structures point to
    cdef list places            # groups of steps: the first match of each chooses


cdef Code code_of(tuple node, object hooks, bint is_child)
