/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* An update while it is recorded: of one thread, no locks. */
#ifndef GMI_UPDATE_H
#define GMI_UPDATE_H

#include "space/space.h"

struct gmi_region_list {
	struct gm_region **regions; /* one reference each */
	size_t count, room;
};

struct gm_update {
	struct gm_space *space; /* a reference */
	struct gmi_region_list removed, inserted;
	struct gmi_completion *completions;
	int error; /* the first failure while recording; commit returns it */
};

#endif
