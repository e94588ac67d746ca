# Sizes of values, about what they take as BSON.

cdef Py_ssize_t value_size(object value)
