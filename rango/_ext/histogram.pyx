"""How long operations took.

Terms       histogram: see rango/metrics.py.
Invariants  As those of rango/metrics.py: no lock. Compiled, because two looks at the clock and a
            few Python integers were a twentieth of an update.
Failure     none.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    int count_leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil


def bound_ns(int number) -> int:
    """The upper bound of a bucket, nanoseconds."""
    return <uint64_t>1024 << number


@cython.final
@cython.no_gc
cdef class Histogram:
    """How long operations took."""

    cdef void add(self, int64_t ns, int weight) noexcept nogil:
        # a clock that goes back counts as no time
        cdef uint64_t spent = <uint64_t>ns if ns > 0 else 0
        self.counts[64 - count_leading_zeros(spent >> 10) if spent >> 10 else 0] += weight
        self.total += spent * weight

    def observe(self, int64_t ns, int weight=1) -> None:
        """Count an operation of so many nanoseconds; one that stands for `weight` of its kind."""
        self.add(ns, weight)

    @property
    def buckets(self) -> list[int]:
        """How many there were in each bucket, as of now."""
        return [self.counts[at] for at in range(HISTOGRAM_BUCKETS)]

    @property
    def total_ns(self) -> int:
        """What all of them took."""
        return self.total

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)

    def quantile_ms(self, double share) -> float:
        """An upper bound of what this share of them took; 0 if there was none."""
        cdef list buckets = self.buckets
        cdef double wanted = share * sum(buckets)
        cdef int64_t seen = 0
        for number, count in enumerate(buckets):
            seen += count
            if count and seen >= wanted:
                return bound_ns(number) / 1e6
        return 0.0

    def as_dict(self) -> dict[str, float]:
        """Count, and times in milliseconds; p50 and p99 are upper bounds, within a factor of 2."""
        return {
            "count": self.count,
            "total_ms": self.total_ns / 1e6,
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
        }

    def __reduce__(self):
        raise TypeError("a histogram counts for its process and cannot be pickled")
