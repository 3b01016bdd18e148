/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What "guestmem blk" can draw: the memory of the machine as its front-end describes it, and which parts the disk wrote to. It listens
 * to the space, and reads the dirty log of each region that stands there: only when it is asked for a picture, so it costs nothing before.
 */
#ifndef TOOL_BLK_PICTURE_H
#define TOOL_BLK_PICTURE_H

#include <guestmem/guestmem.h>
#include <stdio.h>

#include "failure.h"
#include "text.h"

/* Cells of a region's strip. */
#define BLK_CELLS 128

struct blk_picture;

/* Return: 0, or an error number. */
int blk_picture_new(struct gm_space *space, struct blk_picture **ret_picture);
/* Accepts NULL. */
void blk_picture_free(struct blk_picture *picture);

void blk_picture_print(struct blk_picture *picture, FILE *out, const struct terminal *terminal);
/* Into the file @path. @title: of the document. */
int blk_picture_draw(struct blk_picture *picture, const char *path, const char *title, struct failure *failure);

#endif
