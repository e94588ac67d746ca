/* A plugin of QEMU (user mode, aarch64): counts the instructions that a program executes, and those
 * of them that need AES hardware, between marks. A mark is the system call getpgid, which nothing
 * else here makes; each prints a line "mark INSTRUCTIONS AES" to QEMU's log (-d plugin -D FILE).
 *
 * Invariants  counts are exact for a program of one thread: an addition is not atomic.
 * Sources     QEMU 7.2, docs/devel/tcg-plugins.rst. Debian ships no header, so what is used of the
 *             interface (version 1) is declared here.
 */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0, SYSCALL_GETPGID = 155 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t, uint64_t));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions;
static uint64_t aes;

/* AESE, AESD, AESMC, AESIMC, and PMULL of 64-bit halves, which GHASH is made of. */
static int needs_aes(uint32_t word)
{
    return (word & 0xFFFFCC00u) == 0x4E284800u || (word & 0xBFE0FC00u) == 0x0EE0E000u;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    size_t count = qemu_plugin_tb_n_insns(block);
    uint64_t found = 0;
    (void)id;
    for (size_t at = 0; at < count; at++)
        found += needs_aes(*(const uint32_t *)qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, at)));
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions, count);
    if (found)
        qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &aes, found);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    char line[64];
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != SYSCALL_GETPGID)
        return;
    snprintf(line, sizeof line, "mark %" PRIu64 " %" PRIu64 "\n", instructions, aes);
    qemu_plugin_outs(line);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
