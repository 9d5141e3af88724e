/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "clock.h"
#include "dataset_keeper.h"
#include "log.h"

#define SHORT_LIFE_MS 5000
#define SHORT_LIVES_MAX 5 /* in a row: then it is hopeless */

static void passed_on(sigset_t *ret)
{
	(void)sigemptyset(ret);
	(void)sigaddset(ret, SIGTERM);
	(void)sigaddset(ret, SIGINT);
	(void)sigaddset(ret, SIGHUP);
}

void keeper_listen(void)
{
	sigset_t signals;

	passed_on(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

void keeper_be_deaf(void)
{
	sigset_t signals;

	passed_on(&signals);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
}

static pid_t begin(int (*work)(void *userdata), void *userdata)
{
	pid_t keeper = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(EXIT_FAILURE);
	exit(work(userdata));
}

/* The status of waitpid(2). @end: the signal that is to end the work, once it came; 0. */
static int wait_for(pid_t pid, const sigset_t *signals, int *end)
{
	int sig, status;

	for (;;) {
		if (sigwait(signals, &sig) != 0)
			continue;
		if (sig == SIGTERM || sig == SIGINT)
			*end = sig;
		if (sig != SIGCHLD)
			(void)kill(pid, sig);
		else if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
	}
}

int keeper_run(int (*work)(void *userdata), void *userdata)
{
	int status, short_lives = 0, end = 0;
	sigset_t signals;
	uint64_t begun;
	pid_t pid;

	passed_on(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	while (short_lives < SHORT_LIVES_MAX) {
		begun = clock_ms(CLOCK_MONOTONIC);
		pid = begin(work, userdata);
		if (pid < 0)
			return log_error(errno, "cannot start") < 0;
		if (end) /* killed as it ended: its successor has that to do */
			(void)kill(pid, end);
		status = wait_for(pid, &signals, &end);
		if (!WIFSIGNALED(status))
			return WEXITSTATUS(status);
		short_lives = clock_ms(CLOCK_MONOTONIC) - begun < SHORT_LIFE_MS ? short_lives + 1 : 0;
		log_error(0, "killed by signal %d (%s); beginning again, and the dataset stays", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	}
	/* Another process may fare better: whoever started this one sees that it did not end by
	 * itself. */
	(void)signal(SIGABRT, SIG_DFL);
	abort();
}
