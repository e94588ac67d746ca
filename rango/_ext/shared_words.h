/* Words of 64 bits that processes share, and sleeping until one changes: see shared.pyx. */

#ifndef RANGO_SHARED_WORDS_H
#define RANGO_SHARED_WORDS_H

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#define rango_word_load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define rango_word_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
/* in order with what this thread stores before and after, and no fence */
#define rango_word_put(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define rango_word_add(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
static inline int rango_word_swap(uint64_t *word, uint64_t old, uint64_t value)
{
    return __atomic_compare_exchange_n(
        word, &old, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline double rango_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
/* 0 or -errno; the low half of the word is what the kernel compares (see rango_half) */
static int rango_sleep(uint64_t *word, uint64_t seen, double seconds)
{
    struct timespec time;
#if defined(__linux__)
    uint32_t *half = (uint32_t *)word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    half += 1;
#endif
    time.tv_sec = (time_t)seconds;
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    if (syscall(SYS_futex, half, FUTEX_WAIT, (uint32_t)seen, &time, NULL, 0) == 0)
        return 0;
    return errno == EINTR ? -EINTR : 0;
#else
    (void)word; (void)seen;
    time.tv_sec = 0;
    time.tv_nsec = seconds < 0.0005 ? (long)(seconds * 1e9) : 500000;
    return nanosleep(&time, NULL) == 0 ? 0 : -errno;
#endif
}
static void rango_wake(uint64_t *word, int count)
{
#if defined(__linux__)
    uint32_t *half = (uint32_t *)word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    half += 1;
#endif
    syscall(SYS_futex, half, FUTEX_WAKE, count, NULL, NULL, 0);
#else
    (void)word; (void)count;
#endif
}

#endif
