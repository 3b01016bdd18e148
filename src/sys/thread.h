/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Threads of the library's own; started only where the user asked for them. */
#ifndef GMI_SYS_THREAD_H
#define GMI_SYS_THREAD_H

#include <pthread.h>

/* Starts a thread with all signals blocked: the application's handlers are not to run on it. Return: 0 or -errno. */
int gmi_thread_start(pthread_t *ret_thread, void *(*run)(void *opaque), void *opaque);
void gmi_thread_join(pthread_t thread);
void gmi_thread_detach(pthread_t thread);
/* What fork(2) calls on the thread that forks: before it, and after it in either process. For good. Return: 0 or -errno. */
int gmi_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
/* CPUs that this thread may run on; at least 1. */
unsigned gmi_cpus(void);

#endif
