/* Random bytes of the operating system, without a system call where the kernel offers that.

   Since 6.11 Linux maps a getrandom into every process (the vDSO: code of the kernel that runs in
   user mode). It keeps a key and some bytes drawn ahead in a state that the caller gives it room
   for. The room is mapped as the kernel asks for it (MAP_DROPPABLE): it is zeroed in the child of a
   fork, and may be zeroed at any time, is never swapped and in no core dump. A state of zeros draws
   a new key by the system call, and so does one that is older than the last reseeding of the
   kernel's own generator, which each call compares; a bumped generation of a virtual machine
   reseeds that. What was given out is erased in the state.

   A process that was written to a file and is restored twice (CRIU) has its state twice. The
   counter of the processor is put over what is drawn, so that two copies get other bytes unless
   they draw in the same tick; that takes nothing from what is random already.

   Whatever is unusual is getentropy's: another system, an older kernel, a libc that does not show
   the vDSO, a state that is in use, an answer that is not complete. */

#ifndef RANGO_VDSO_RANDOM_H
#define RANGO_VDSO_RANDOM_H

#include <stdint.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif
#if defined(__linux__)
#include <dlfcn.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#define RANGO_VDSO_GETRANDOM "__vdso_getrandom"
#elif defined(__aarch64__)
#define RANGO_VDSO_GETRANDOM "__kernel_getrandom"
#endif
#endif

#define RANGO_GETENTROPY_MAX 256

typedef ssize_t (*rango_getrandom_t)(
    void *into, size_t size, unsigned int flags, void *state, size_t state_size);

/* NULL: every draw is a system call */
static rango_getrandom_t rango_vdso_getrandom;
static void *rango_vdso_state;
static size_t rango_vdso_state_size;
/* Two threads in one state would get the same bytes. Who finds it taken, a signal's handler for
   one, does not wait. In the child of a fork that came while another thread had it, it stays taken:
   that child draws by system calls. It is not a part of the state, which may be zeroed any time. */
static char rango_vdso_taken;

#ifdef RANGO_VDSO_GETRANDOM
static rango_getrandom_t rango_vdso_find(void)
{
    /* linux/random.h, struct vgetrandom_opaque_params */
    struct { uint32_t size, prot, flags, reserved[13]; } asked;
    void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    long page = sysconf(_SC_PAGESIZE);
    rango_getrandom_t call;
    if (vdso == NULL || page <= 0)
        return NULL;
    call = (rango_getrandom_t)dlsym(vdso, RANGO_VDSO_GETRANDOM);
    /* a size of all ones asks what a state needs; no state may cross the end of a page */
    if (call == NULL || call(NULL, 0, 0, &asked, ~(size_t)0) != 0)
        return NULL;
    if (asked.size == 0 || asked.size > (size_t)page)
        return NULL;
    rango_vdso_state = mmap(NULL, (size_t)page, (int)asked.prot, (int)asked.flags, -1, 0);
    if (rango_vdso_state == MAP_FAILED) {
        rango_vdso_state = NULL;
        return NULL;
    }
    rango_vdso_state_size = asked.size;
    return call;
}
#endif

/* Look for the kernel's offer, or do without; which it is. To be called before there are threads
   that draw, and by tests, which change their minds: what was found once is kept. */
static int rango_vdso_switch(int is_wanted)
{
    static rango_getrandom_t found;
#ifdef RANGO_VDSO_GETRANDOM
    if (is_wanted && rango_vdso_state == NULL)
        found = rango_vdso_find();
#endif
    rango_vdso_getrandom = is_wanted ? found : NULL;
    return rango_vdso_getrandom != NULL;
}

static uint64_t rango_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

/* 0, or -1: the system gives none */
static int rango_random(uint8_t *into, size_t size)
{
    size_t step;
    rango_getrandom_t call = rango_vdso_getrandom;
    if (call != NULL && !__atomic_exchange_n(&rango_vdso_taken, 1, __ATOMIC_ACQUIRE)) {
        ssize_t given = call(into, size, 0, rango_vdso_state, rango_vdso_state_size);
        __atomic_store_n(&rango_vdso_taken, 0, __ATOMIC_RELEASE);
        if (given >= 0 && (size_t)given == size) {
            uint64_t ticks = rango_ticks();
            for (step = 0; step < size && step < sizeof(ticks); step++)
                into[step] ^= (uint8_t)(ticks >> (8 * step));
            return 0;
        }
    }
    for (; size; into += step, size -= step) {
        step = size < RANGO_GETENTROPY_MAX ? size : RANGO_GETENTROPY_MAX;
        if (getentropy(into, step) != 0)
            return -1;
    }
    return 0;
}

#endif
