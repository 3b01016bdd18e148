/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The protocol between marking and collecting, in small, in every order that there is: two markers of one word, of the same page or
 * of two; others, of which only that they set the summary bit at the worst time is left; and a collector that collects twice, and
 * once more when all is done. Each step is one access to memory. The promise is checked at the end of each collect: a copy that is
 * made of reported pages only is not behind what marks had finished before the collect began. The steps follow
 * include/guestmem/dirty.h, mark.c and take.c; docs/concurrency.md, (A) and (E), has the names. Numbers of clearings only rise and are
 * only compared, so a marker's is left as whether it is still the latest one.
 *
 * Each guard is left out in turn, and then some order must break the promise: or the search could not tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MARKERS    2
#define COLLECTS   3 /* the last one begins when all marks have returned */
#define TRIES      2
#define TABLE_SIZE (1u << 23)
#define STATES_MAX (TABLE_SIZE / 4 * 3)

enum guard {
	GUARD_NONE,
	GUARD_INLINE,   /* the inlined path's looks at what is being cleared */
	GUARD_BEGIN,    /* the slow path's look before */
	GUARD_SURE,     /* and the one after */
	GUARD_LATE,     /* late bits are taken */
	GUARD_LATE_ANY, /* and announced, before they are looked at again */
	GUARD_SUMMARY,  /* the summary bit is set */
	GUARD_INSIDE,   /* the summary bit is cleared while the clearing is announced */
};

enum marker_step {
	WRITE,
	INLINE_CLEARED,
	INLINE_WORD,
	INLINE_SUMMARY,
	INLINE_CLEARING,
	BEGIN_CLEARING,
	BEGIN_CLEARED,
	LOOK,
	SET,
	SURE,
	SUMMARY,
	LATE_WORD,
	LATE_ANY,
	RETURNED,
};

enum collector_step {
	START, /* and the look whether there are late bits */
	LATE_RESET,
	LATE_TAKE,
	LATE_SET,
	LATE_SUMMARY,
	LOOK_SUMMARY,
	ANNOUNCE,
	CLEAR_SUMMARY,
	TAKE,
	CLEAR,
	WITHDRAW,
	OTHER_ANNOUNCE,
	OTHER_WITHDRAW,
	COPY,
	ENDED,
};

/* All of it fits into one word, which is what we remember. */
struct state {
	uint64_t step0 : 4, step1 : 4;
	uint64_t latest0 : 1, latest1 : 1; /* the number that it saw is that of the latest clearing */
	uint64_t tries0 : 2, tries1 : 2;
	uint64_t window : 1; /* of the latest clearing: 0 is ours */
	uint64_t active : 1; /* it has not ended */
	uint64_t word : 2, summary : 1, late : 2, late_any : 1;
	uint64_t data : 2; /* by whom the data is written */
	uint64_t step : 4, collect : 2, taken : 2, moved : 2;
	uint64_t returned : 2; /* marks that had when the collect began */
	uint64_t copied : 2;
	uint64_t known : 1;
	uint64_t unused : 25;
};

_Static_assert(sizeof(struct state) == sizeof(uint64_t), "one word");

struct search {
	const unsigned *pages; /* of each marker, as a bit of the word */
	struct state *known;   /* open addressing */
	struct state *stack;
	size_t depth;
	size_t count;
	bool broken;
};

struct marker {
	unsigned step, latest, tries;
};

static struct marker get_marker(const struct state *state, unsigned i)
{
	if (i == 0)
		return (struct marker){ state->step0, state->latest0, state->tries0 };
	return (struct marker){ state->step1, state->latest1, state->tries1 };
}

static void set_marker(struct state *state, unsigned i, struct marker marker)
{
	if (i == 0)
		state->step0 = marker.step & 15, state->latest0 = marker.latest & 1, state->tries0 = marker.tries & 3;
	else
		state->step1 = marker.step & 15, state->latest1 = marker.latest & 1, state->tries1 = marker.tries & 3;
}

static void again(struct marker *marker)
{
	marker->tries++;
	marker->step = marker->tries < TRIES ? BEGIN_CLEARING : LATE_WORD;
}

/* One access to memory by marker @i. */
static void step_marker(struct state *state, unsigned i, unsigned page, enum guard without)
{
	struct marker marker = get_marker(state, i);

	switch ((enum marker_step)marker.step++) {
	case WRITE:
		state->data = (state->data | 1u << i) & 3;
		break;
	case INLINE_CLEARED:
		marker.latest = !state->active;
		break;
	case INLINE_WORD:
		marker.step = (state->word & page) != 0 ? INLINE_SUMMARY : BEGIN_CLEARING;
		break;
	case INLINE_SUMMARY:
		marker.step = state->summary ? INLINE_CLEARING : BEGIN_CLEARING;
		break;
	case INLINE_CLEARING:
		marker.step = marker.latest || without == GUARD_INLINE ? RETURNED : BEGIN_CLEARING;
		break;
	case BEGIN_CLEARING:
		marker.latest = 1;
		if (state->window != 0 || without == GUARD_BEGIN)
			marker.step = LOOK;
		break;
	case BEGIN_CLEARED:
		/* If it is not the latest any more, the second look will tell. */
		if (marker.latest && state->active)
			again(&marker);
		break;
	case LOOK:
		marker.step = (state->word & page) != 0 ? SURE : SET;
		break;
	case SET:
		state->word = (state->word | page) & 3;
		break;
	case SURE:
		if (!marker.latest && without != GUARD_SURE)
			again(&marker);
		break;
	case SUMMARY: /* look and set: what is set is set */
		state->summary |= without != GUARD_SUMMARY;
		marker.step = RETURNED;
		break;
	case LATE_WORD:
		state->late = (state->late | page) & 3;
		break;
	case LATE_ANY:
		state->late_any = 1;
		break;
	case RETURNED:
		break;
	}
	/* What it remembers in vain makes no state another one. */
	if (marker.step == BEGIN_CLEARING || marker.step >= SUMMARY)
		marker.latest = 0;
	if (marker.step >= SUMMARY)
		marker.tries = 0;
	set_marker(state, i, marker);
}

static unsigned returned(const struct state *state)
{
	return (state->step0 == RETURNED ? 1u : 0) | (state->step1 == RETURNED ? 2u : 0);
}

/* The reported pages are copied, the promise is checked. */
static bool copy(struct state *state, const unsigned *page_of)
{
	unsigned i, pages = state->taken;

	for (i = 0; i < MARKERS; i++) {
		if ((pages & page_of[i]) != 0)
			state->copied = (state->copied | (state->data & 1u << i)) & 3;
	}
	state->taken = 0;
	return (state->returned & ~state->copied) == 0;
}

static void announce(struct state *state, unsigned window)
{
	state->window = window & 1;
	state->active = 1;
	state->latest0 = state->latest1 = 0;
}

static void step_take(struct state *state, enum guard without)
{
	switch (state->step++) {
	case LOOK_SUMMARY:
		if (!state->summary)
			state->step = OTHER_ANNOUNCE;
		break;
	case ANNOUNCE:
		announce(state, 0);
		break;
	case CLEAR_SUMMARY:
		if (without != GUARD_INSIDE)
			state->summary = 0;
		break;
	case TAKE:
		state->taken = state->word;
		break;
	case CLEAR:
		state->word = 0;
		break;
	case WITHDRAW:
		state->active = 0;
		break;
	case OTHER_ANNOUNCE:
		announce(state, 1);
		if (without == GUARD_INSIDE)
			state->summary = 0;
		break;
	default:
		state->active = 0;
	}
}

/* One access by the collector. False: the promise is broken. */
static bool step_collector(struct state *state, const unsigned *pages, enum guard without)
{
	switch ((enum collector_step)state->step) {
	case START:
		state->returned = returned(state) & 3;
		state->step = state->late_any && without != GUARD_LATE ? LATE_RESET : LOOK_SUMMARY;
		return true;
	case LATE_RESET:
		/* Without: from the bottom up. */
		if (without != GUARD_LATE_ANY)
			state->late_any = 0;
		state->step = LATE_TAKE;
		return true;
	case LATE_TAKE:
		state->moved = state->late;
		state->late = 0;
		state->step = LATE_SET;
		return true;
	case LATE_SET:
		state->word |= state->moved;
		state->step = LATE_SUMMARY;
		return true;
	case LATE_SUMMARY:
		state->summary |= state->moved != 0;
		if (without == GUARD_LATE_ANY)
			state->late_any = 0;
		state->moved = 0;
		state->step = LOOK_SUMMARY;
		return true;
	case COPY:
		if (!copy(state, pages))
			return false;
		state->collect++;
		state->step = state->collect == COLLECTS ? ENDED : START;
		return true;
	case ENDED:
		return true;
	default:
		step_take(state, without);
		return true;
	}
}

static void remember(struct search *search, struct state state)
{
	uint64_t number;
	size_t at;

	state.known = 1;
	memcpy(&number, &state, sizeof(number));
	number *= UINT64_C(0x9e3779b97f4a7c15);
	for (at = (number ^ number >> 29) % TABLE_SIZE; search->known[at].known != 0; at = (at + 1) % TABLE_SIZE) {
		if (memcmp(&search->known[at], &state, sizeof(state)) == 0)
			return;
	}
	assert_true(search->count < STATES_MAX);
	search->known[at] = state;
	search->count++;
	search->stack[search->depth++] = state;
}

/* Whether some order breaks the promise. */
static bool finds_fault(const unsigned *pages, enum guard without, size_t *ret_count)
{
	struct search search = { .pages = pages };
	struct state state, next;
	unsigned i;

	search.known = calloc(TABLE_SIZE, sizeof(*search.known));
	search.stack = calloc(STATES_MAX, sizeof(*search.stack));
	assert_non_null(search.known);
	assert_non_null(search.stack);
	memset(&state, 0, sizeof(state));
	remember(&search, state);
	while (search.depth > 0 && !search.broken) {
		state = search.stack[--search.depth];
		for (i = 0; i < MARKERS; i++) {
			next = state;
			step_marker(&next, i, pages[i], without);
			remember(&search, next);
		}
		next = state;
		next.summary = 1;
		remember(&search, next);
		if (state.step == START && state.collect == COLLECTS - 1 && returned(&state) != 3)
			continue;
		next = state;
		search.broken = !step_collector(&next, pages, without);
		remember(&search, next);
	}
	*ret_count = search.count;
	free(search.known);
	free(search.stack);
	return search.broken;
}

static const unsigned same_page[MARKERS] = { 1, 1 };
static const unsigned two_pages[MARKERS] = { 1, 2 };

static void test_every_order(void **state)
{
	size_t count;

	(void)state;
	assert_false(finds_fault(same_page, GUARD_NONE, &count));
	assert_true(count > 10000);
	assert_false(finds_fault(two_pages, GUARD_NONE, &count));
	assert_true(count > 10000);
	print_message("%zu states\n", count);
}

static void test_guards(void **state)
{
	enum guard guard;
	size_t count;

	(void)state;
	for (guard = GUARD_INLINE; guard <= GUARD_INSIDE; guard++) {
		if (!finds_fault(same_page, guard, &count) && !finds_fault(two_pages, guard, &count))
			fail_msg("no order of %zu states breaks it without guard %d", count, (int)guard);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_guards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
