# Dates as milliseconds since the epoch, without calling Python: days to and from the proleptic
# Gregorian calendar. Source: H. Hinnant, "chrono-compatible low-level date algorithms" (eras of 400
# years = 146,097 days, years start in March).

from libc.stdint cimport int32_t, int64_t

cdef enum:
    DAY_MS = 86400000

cdef enum CivilRange:
    CIVIL_DAY_MIN = -719162         # 0001-01-01
    CIVIL_DAY_MAX = 2932896         # 9999-12-31


cdef inline int64_t floor_div(int64_t value, int64_t by) noexcept nogil:
    # by > 0; C division rounds toward zero, dates need toward minus infinity
    cdef int64_t quotient = value / by
    if value % by < 0:
        quotient -= 1
    return quotient


cdef inline int64_t civil_to_days(int year, int month, int day) noexcept nogil:
    cdef int32_t y = year - 1 if month <= 2 else year
    cdef int32_t era = (y if y >= 0 else y - 399) / 400
    cdef int32_t year_of_era = y - era * 400
    cdef int32_t day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) / 5 + day - 1
    cdef int32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
    return <int64_t>era * 146097 + day_of_era - 719468


cdef inline void civil_from_days(int32_t days, int *year, int *month, int *day) noexcept nogil:
    # days within CIVIL_DAY_MIN .. CIVIL_DAY_MAX
    cdef int32_t z = days + 719468
    cdef int32_t era = (z if z >= 0 else z - 146096) / 146097
    cdef int32_t doe = z - era * 146097                                          # day of era
    cdef int32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365     # year of era
    cdef int32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100)                   # day of year
    cdef int32_t mp = (5 * doy + 2) / 153                                        # month, March = 0
    day[0] = doy - (153 * mp + 2) / 5 + 1
    month[0] = mp + 3 if mp < 10 else mp - 9
    year[0] = yoe + era * 400 + (1 if month[0] <= 2 else 0)
