"""From the normal form of a filter to the steps of a program."""

from typing import final

@final
class Assembler: ...

@final
class Code: ...
