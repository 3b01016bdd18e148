/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Files and what the kernel says of them. Calls return 0 (or what is said) or -errno. Descriptors are close-on-exec. */
#ifndef GMI_SYS_FILES_H
#define GMI_SYS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* A descriptor. Never waits for the other side of a FIFO, never makes a terminal ours. */
int gmi_open(const char *path, int flags, mode_t mode);
/* A duplicate. */
int gmi_dup(int fd);
/* Accepts -1. */
void gmi_close(int fd);

/* A new, empty memfd that can be sealed. @huge_bytes: 0, or the size of the pool's pages that it is made of. */
int gmi_memfd_new(const char *name, uint64_t huge_bytes);
int gmi_truncate(int fd, uint64_t bytes);
int gmi_allocate(int fd, uint64_t offset, uint64_t bytes);
int gmi_seals_add(int fd, int seals);
/* The seals; 0 for a file of a kind that has none. */
int gmi_seals(int fd);
/* O_RDONLY, O_WRONLY, O_RDWR, O_PATH as it was opened. */
int gmi_open_mode(int fd);

int gmi_stat(const char *path, struct stat *ret_status);
int gmi_fstat(int fd, struct stat *ret_status);
/* Type and block size of the file system: f_type and f_bsize of fstatfs(2). */
int gmi_filesystem(int fd, uint64_t *ret_type, uint64_t *ret_block_bytes);
int gmi_block_device_bytes(int fd, uint64_t *ret_bytes);

int gmi_mkdir(const char *path);
void gmi_rmdir(const char *path);
int gmi_unlink(const char *path);

/* The beginning of a small file as a string. Return: its length or -errno. */
int gmi_read_text(const char *path, char *text, size_t text_max);

#endif
