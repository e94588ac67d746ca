# A snapshot on top of a newer generation.

from rango._ext.overlay cimport Bloom
from rango._ext.view cimport Generation, View


# The same snapshot; `generation` holds every commit up to its ordinal. The keys that stay in the
# overlay are added to `bloom`.
cdef View view_rebased(View old, Generation generation, Bloom bloom)
