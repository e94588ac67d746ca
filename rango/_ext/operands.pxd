# The operands of a filter's operators, checked and brought into one form.

cdef tuple mod_operand(str path, object operand)
cdef object size_operand(str path, object operand)
cdef tuple bits_operand(str path, str name, object operand)
