/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A descriptor that poll(2) finds readable while it is raised (eventfd(2)). */
#ifndef GMI_EVENT_H
#define GMI_EVENT_H

/* Return: the descriptor, close-on-exec and never blocking; or -errno. Closed with gmi_close(). */
int gmi_event_new(void);
/* Async-signal-safe. */
void gmi_event_raise(int fd);
void gmi_event_clear(int fd);

#endif
