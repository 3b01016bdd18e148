/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The handler of SIGBUS. Owns what stood there before it: `previous` and `mend` are written before the handler can run, and not
 * after, so it reads them without a lock. Only async-signal-safe calls in here, and errno is as it was.
 *
 * What is not ours is passed on as if we were not there: the mask that the older handler asked for, its flags, and, where there is
 * none, the death of the process by this very signal, with its own address in the core.
 */
#include "sys/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "sys/fault.h"

static struct sigaction previous;
static gmi_sigbus_fn *mend;

/* What the kernel raises for an access to memory, or for memory that is gone; not what a process sends. */
static bool is_of_memory(int code)
{
	return code == BUS_ADRERR || code == BUS_OBJERR || code == BUS_MCEERR_AR || code == BUS_MCEERR_AO;
}

/* The same signal once more, at the end of the handler and without it: nothing of it is lost but the process. */
static void die_of(siginfo_t *info)
{
	struct sigaction default_action = { .sa_handler = SIG_DFL };

	(void)sigaction(SIGBUS, &default_action, NULL);
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, info) != 0)
		(void)raise(SIGBUS);
}

/*
 * The mask that the older handler would run with: that of the thread, what it asked for, and the signal itself. The thread's is
 * taken apart, since the kernel gives 64 signals of it and the C library's set has room for 1024.
 */
static void mask_as_asked(const struct sigaction *action, const ucontext_t *context)
{
	sigset_t mask = action->sa_mask;

	for (int number = 1; number <= 64; number++) {
		if (sigismember(&context->uc_sigmask, number) == 1)
			(void)sigaddset(&mask, number);
	}
	if (!(action->sa_flags & SA_NODEFER))
		(void)sigaddset(&mask, SIGBUS);
	(void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	struct sigaction action = previous;
	bool is_sent = info->si_code <= 0;

	if (!(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN && is_sent)
		return;
	/* The kernel does not let a process ignore its own bad access. */
	if (!(action.sa_flags & SA_SIGINFO) && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)) {
		die_of(info);
		return;
	}
	if (action.sa_flags & (int)SA_RESETHAND)
		previous = (struct sigaction){ .sa_handler = SIG_DFL };
	mask_as_asked(&action, context);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(number, info, context);
	else
		action.sa_handler(number);
}

static void handle(int number, siginfo_t *info, void *context)
{
	int before = errno;
	bool poisoned = info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO, mended = false;
	uint64_t bytes = 0;

	if (poisoned && info->si_addr_lsb > 0 && info->si_addr_lsb < 64)
		bytes = UINT64_C(1) << info->si_addr_lsb;
	if (is_of_memory(info->si_code))
		mended = mend(info->si_addr, poisoned, bytes);
	errno = before;
	if (!mended)
		pass_on(number, info, context);
}

int gmi_sigbus_install(gmi_sigbus_fn *new_mend)
{
	struct sigaction action = { .sa_sigaction = handle };
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	/* On the alternate stack of a thread that has one: its own may be what is gone. Nobody is to interrupt it, for it takes a lock. */
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
	(void)sigfillset(&action.sa_mask);
	mend = new_mend;
	if (sigaction(SIGBUS, NULL, &previous) != 0)
		return -errno;
	return sigaction(SIGBUS, &action, NULL) != 0 ? -errno : 0;
}

int gmi_sigbus_remove(void)
{
	struct sigaction current;

	if (sigaction(SIGBUS, NULL, &current) != 0)
		return -errno;
	if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != handle)
		return -EBUSY;
	return sigaction(SIGBUS, &previous, NULL) != 0 ? -errno : 0;
}

void gmi_signals_block(sigset_t *ret_before)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void gmi_signals_restore(const sigset_t *before)
{
	(void)pthread_sigmask(SIG_SETMASK, before, NULL);
}
