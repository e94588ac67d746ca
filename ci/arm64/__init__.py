"""Rango for 64-bit ARM on a machine that is none: a Cortex-A53, as QEMU's user mode shows one."""
