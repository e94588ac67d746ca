"""Operands of a long $in: see members.pyx."""

from typing import final

@final
class Members: ...
