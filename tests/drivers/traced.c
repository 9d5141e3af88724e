/* SPDX-License-Identifier: Apache-2.0 */
#include "traced.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#if defined(__x86_64__)
#include <sys/user.h>
#endif

#include "harness.h"

#define SYSCALL_STOP (SIGTRAP | 0x80)

pid_t traced_start(int (*call)(void *userdata), void *userdata)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(-call(userdata));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	assert_ok(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	return pid;
}

bool traced_next(pid_t pid, int *ret_status)
{
	int signal = 0;

	for (;;) {
		assert_ok(ptrace(PTRACE_SYSCALL, pid, NULL, signal));
		assert_int_equal(waitpid(pid, ret_status, 0), pid);
		if (!WIFSTOPPED(*ret_status))
			return false;
		if (WSTOPSIG(*ret_status) == SYSCALL_STOP)
			return true;
		signal = WSTOPSIG(*ret_status);
	}
}

bool traced_at_exit(pid_t pid)
{
	struct __ptrace_syscall_info info;

	assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
	return info.op == PTRACE_SYSCALL_INFO_EXIT;
}

unsigned traced_stride(void)
{
	const char *text = getenv("FLOCKER_STRIDE");

	return text ? (unsigned)MAX(atoi(text), 1) : 1;
}

#if defined(__x86_64__)

void traced_fail(pid_t pid, int error)
{
	struct user_regs_struct regs;
	int status;

	assert_ok(ptrace(PTRACE_GETREGS, pid, NULL, &regs));
	regs.orig_rax = (unsigned long long)-1;
	assert_ok(ptrace(PTRACE_SETREGS, pid, NULL, &regs));
	assert_true(traced_next(pid, &status));
	assert_ok(ptrace(PTRACE_GETREGS, pid, NULL, &regs));
	regs.rax = (unsigned long long)-error;
	assert_ok(ptrace(PTRACE_SETREGS, pid, NULL, &regs));
}

#endif
