"""The operands of a filter's operators, checked and brought into one form."""

from typing import Any, Final

TYPE_CODES: Final[dict[str, int]]

def type_codes(path: str, operand: Any) -> tuple[int, ...]: ...
def regex_text(path: str, operand: Any, options: Any = None) -> tuple[str, str]: ...
