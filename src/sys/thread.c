/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Starting and joining threads. Keeps no state. */
#include "sys/thread.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "sys/fault.h"

int gmi_thread_start(pthread_t *ret_thread, void *(*run)(void *opaque), void *opaque)
{
	int fault = GMI_FAULT(), r;
	sigset_t all, before;

	if (fault)
		return -fault;
	(void)sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r != 0)
		return -r;
	r = pthread_create(ret_thread, NULL, run, opaque);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

void gmi_thread_join(pthread_t thread)
{
	(void)pthread_join(thread, NULL);
}

void gmi_thread_detach(pthread_t thread)
{
	(void)pthread_detach(thread);
}

int gmi_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	int fault = GMI_FAULT();

	return fault ? -fault : -pthread_atfork(prepare, parent, child);
}

unsigned gmi_cpus(void)
{
	cpu_set_t set;
	long online;

	/* Fails on machines with more CPUs than a cpu_set_t has. */
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}
