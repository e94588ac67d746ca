/* Preloaded into an aarch64 program: a processor without the cryptography extensions, as those of
 * the Raspberry Pi 3 and 4 are. QEMU has no Cortex-A53 without them and no switch for them; but
 * libraries ask getauxval() what the processor has, and are told here. count.c shows whether they
 * keep to it: it counts the AES instructions that are executed.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/auxv.h>

enum { AES = 1 << 3, PMULL = 1 << 4, SHA1 = 1 << 5, SHA2 = 1 << 6 };

unsigned long getauxval(unsigned long type)
{
    unsigned long (*real)(unsigned long) = dlsym(RTLD_NEXT, "getauxval");
    unsigned long value = real(type);
    return type == AT_HWCAP ? value & ~(unsigned long)(AES | PMULL | SHA1 | SHA2) : value;
}
