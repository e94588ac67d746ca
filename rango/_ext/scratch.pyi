"""Buffers that the batches of one store use one after the other."""

from typing import final

@final
class Scratch: ...
