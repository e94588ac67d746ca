# What an appender does about other processes that appended: nothing for C.
