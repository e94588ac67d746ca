"""What compiled writes look at in a core, where they find it without Python.

Invariants  rango.engine.core.Core is the only one that is made of this, and says what they mean.
"""


cdef class CoreState:
    """The part of a Core that is read at every write."""
