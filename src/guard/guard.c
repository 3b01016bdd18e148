/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The guard of the process: installing and removing it, what is guarded, what the handler of SIGBUS does, and the events that tell
 * of it. Start reading at mend().
 *
 * All of the state is under one spin lock, which the handler takes too. So a thread holds it with all signals blocked, and touches no
 * guest memory meanwhile. The handler replaces pages under the lock: a mapping that it has found is not unmapped before that is done,
 * and so nobody else's memory is replaced in its place.
 */
#include "guard/guard.h"

#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "sys/event.h"
#include "sys/files.h"
#include "sys/membarrier.h"
#include "sys/memory.h"
#include "sys/mmap.h"
#include "sys/sigbus.h"
#include "sys/spin.h"
#include "sys/thread.h"
#include "sys/uapi.h"

/* The part of the state that there is while the guard is installed. */
struct books {
	int fd;
	struct gmi_lost *free; /* of the pages below */
	uint64_t taken, kept;  /* events: how many were taken, how many were written, since ever */
	uint64_t missed;
	struct gmi_lost pages[GM_FAULT_PAGES_ALL_MAX];
	struct gm_fault events[GM_FAULT_EVENTS_MAX];
	uint64_t missed_before[GM_FAULT_EVENTS_MAX];
};

static struct {
	uint32_t lock;
	struct books *books;      /* NULL: not installed. Atomic for gmi_guard_add() */
	struct gmi_guarded *root; /* by host address */
	size_t page_bytes;        /* of the host */
	bool follows_forks;
	bool is_stale; /* the index is a parent's: drop_parents() */
	sigset_t before_fork;
} guard;

static void lock(sigset_t *ret_before)
{
	gmi_signals_block(ret_before);
	gmi_spin_lock(&guard.lock);
}

static void unlock(const sigset_t *before)
{
	gmi_spin_unlock(&guard.lock);
	gmi_signals_restore(before);
}

/* fork(2) copies the lock as it is: nobody else is to hold it then. */
static void prepare_fork(void)
{
	sigset_t before;

	lock(&before);
	guard.before_fork = before;
}

static void after_fork(void)
{
	sigset_t before = guard.before_fork;

	unlock(&before);
}

static void after_fork_in_child(void)
{
	guard.is_stale = true;
	after_fork();
}

/*
 * A child does not have the mappings without GM_REGION_FORK, and something else may come to stand there. Done when the index is next
 * asked for, which in most children is never.
 */
static void drop_parents(void)
{
	struct gmi_guarded *old = guard.root;

	if (!guard.is_stale)
		return;
	guard.is_stale = false;
	guard.root = NULL;
	while (old != NULL) {
		struct gmi_guarded *guarded = old;

		gmi_guarded_index_remove(&old, guarded);
		if (guarded->forked)
			gmi_guarded_index_add(&guard.root, guarded);
		else
			guarded->lost = NULL; /* books may be newer than it from here on */
	}
}

/* What is lost by a fault at @offset: the page of the source, or what the hardware says, if that is more; inside of the mapping. */
static void extent_of(const struct gmi_guarded *guarded, uint64_t offset, uint64_t poisoned_bytes, uint64_t *ret_first,
		      uint64_t *ret_bytes)
{
	uint64_t bytes = GMI_MAX(GMI_MAX(guarded->page_bytes, guard.page_bytes), poisoned_bytes);
	/* Huge pages begin at multiples of their size in the address space. A mapping of them does, too. */
	uint64_t skip = ((uintptr_t)guarded->hva + offset) & (bytes - 1);

	*ret_first = offset - GMI_MIN(skip, offset);
	*ret_bytes = GMI_MIN(offset + (bytes - skip), guarded->bytes) - *ret_first;
}

/* The guest address of a place in the mapping; the nearest one, if the region does not have it. */
static struct gm_gpa address_of(const struct gmi_guarded *guarded, uint64_t offset)
{
	uint64_t behind = offset - GMI_MIN(offset, guarded->lead);

	return gm_gpa(guarded->first + GMI_MIN(behind, guarded->region_bytes - 1));
}

static void tell(struct gmi_guarded *guarded, uint64_t offset, uint64_t first, uint64_t bytes, bool poisoned)
{
	struct books *books = guard.books;
	struct gm_fault *event = &books->events[books->kept % GM_FAULT_EVENTS_MAX];

	(void)__atomic_fetch_add(&guarded->faults, 1, __ATOMIC_RELAXED);
	if (books->kept - books->taken == GM_FAULT_EVENTS_MAX) {
		books->missed++;
		return;
	}
	strcpy(event->region, guarded->name);
	event->tag = guarded->tag;
	event->at = address_of(guarded, offset);
	event->lost.first = address_of(guarded, first);
	event->lost.last = address_of(guarded, first + (bytes - 1));
	event->kind = poisoned ? GM_FAULT_POISONED : GM_FAULT_GONE;
	books->missed_before[books->kept % GM_FAULT_EVENTS_MAX] = books->missed;
	books->missed = 0;
	books->kept++;
	gmi_event_raise(books->fd);
}

/*
 * Replaces what is gone. A page that was replaced already is replaced again: usually another thread was quicker, and its zeros may as well
 * be these; but the hardware may have lost those too.
 */
static bool mend_guarded(struct gmi_guarded *guarded, uint64_t offset, bool poisoned, uint64_t poisoned_bytes)
{
	const struct gmi_lost *known = gmi_guarded_lost_at(guarded, offset);
	struct gmi_lost *lost = guard.books->free;
	uint64_t first, bytes;

	extent_of(guarded, offset, poisoned_bytes, &first, &bytes);
	if (known != NULL || guarded->whole)
		return gmi_guarded_replace_again(guarded, first, bytes);
	if (lost != NULL && guarded->lost_count < GM_FAULT_PAGES_MAX) {
		guard.books->free = lost->next;
		if (gmi_guarded_replace_page(guarded, lost, first, bytes)) {
			tell(guarded, offset, first, bytes, poisoned);
			return true;
		}
		/* No mappings left, most likely. One for all of the region needs none more than there are. */
	}
	if (!gmi_guarded_replace_all(guarded))
		return false;
	tell(guarded, offset, 0, guarded->bytes, poisoned);
	return true;
}

/* In the handler. */
static bool mend(const unsigned char *address, bool poisoned, uint64_t poisoned_bytes)
{
	struct gmi_guarded *guarded;
	bool mended = false;

	gmi_spin_lock(&guard.lock);
	drop_parents();
	guarded = gmi_guarded_index_find(guard.root, address);
	if (guarded != NULL)
		mended = mend_guarded(guarded, (uint64_t)(address - guarded->hva), poisoned, poisoned_bytes);
	gmi_spin_unlock(&guard.lock);
	return mended;
}

void gmi_guard_probe(struct gmi_guarded *guarded, unsigned char *hva)
{
	size_t skip = (uintptr_t)hva & (guard.page_bytes - 1);
	int r = gmi_madvise(hva - skip, guard.page_bytes, MADV_POPULATE_READ);
	sigset_t before;

	if (r != -EFAULT && r != -EHWPOISON)
		return;
	lock(&before);
	(void)mend_guarded(guarded, (uint64_t)(hva - guarded->hva), r == -EHWPOISON, 0);
	unlock(&before);
}

int gmi_guard_add(const struct gmi_guarded_opts *opts, struct gmi_guarded **ret_guarded)
{
	struct gmi_guarded *guarded = NULL;
	sigset_t before;

	*ret_guarded = NULL;
	if (__atomic_load_n(&guard.books, __ATOMIC_RELAXED) == NULL)
		return 0;
	guarded = gmi_alloc_line(sizeof(*guarded));
	if (guarded == NULL)
		return -ENOMEM;
	guarded->hva = opts->hva;
	guarded->bytes = opts->bytes;
	guarded->lead = opts->lead;
	guarded->region_bytes = opts->region_bytes;
	guarded->page_bytes = opts->page_bytes;
	guarded->prot = (opts->prot & GM_READ ? PROT_READ : 0) | (opts->prot & GM_WRITE ? PROT_WRITE : 0);
	guarded->forked = opts->forked;
	guarded->first = opts->first;
	guarded->tag = opts->tag;
	guarded->name = opts->name;
	lock(&before);
	if (guard.books != NULL) {
		drop_parents();
		gmi_guarded_index_add(&guard.root, guarded);
		*ret_guarded = guarded;
	}
	unlock(&before);
	/* Removed in this very moment. */
	if (*ret_guarded == NULL)
		gmi_free_line(guarded);
	return 0;
}

/* The pages' entries. */
static void give_back(struct gmi_guarded *guarded)
{
	struct gmi_lost *lost;

	while (guarded->lost != NULL) {
		lost = guarded->lost;
		guarded->lost = lost->next;
		lost->next = guard.books->free;
		guard.books->free = lost;
	}
}

void gmi_guard_remove(struct gmi_guarded *guarded)
{
	sigset_t before;

	if (guarded == NULL)
		return;
	lock(&before);
	drop_parents();
	gmi_guarded_index_remove(&guard.root, guarded);
	give_back(guarded);
	unlock(&before);
	gmi_free_line(guarded);
}

static struct books *books_new(struct gm_error *error)
{
	struct books *books = gmi_alloc(sizeof(*books));
	int fd;

	if (books == NULL) {
		(void)gmi_error(error, -ENOMEM, "no memory for the guard's events");
		return NULL;
	}
	fd = gmi_event_new();
	if (fd < 0) {
		(void)gmi_error(error, fd, "eventfd for the guard's events: %s", strerror(-fd));
		gmi_free(books);
		return NULL;
	}
	books->fd = fd;
	for (size_t i = 0; i < GM_FAULT_PAGES_ALL_MAX; i++) {
		books->pages[i].next = books->free;
		books->free = &books->pages[i];
	}
	return books;
}

static void books_free(struct books *books)
{
	gmi_close(books->fd);
	gmi_free(books);
}

/* With the lock: puts the books in their place, then the handler. Return: 0 or the code. */
static int open_books(struct books *books)
{
	int r = 0;

	if (guard.books != NULL)
		return -EALREADY;
	/* For good: there is no way to take it back, and it does nothing but to take and to leave the lock. */
	if (!guard.follows_forks)
		r = gmi_at_fork(prepare_fork, after_fork, after_fork_in_child);
	if (r != 0)
		return r;
	guard.follows_forks = true;
	guard.page_bytes = gmi_page_bytes();
	r = gmi_sigbus_install(mend);
	if (r == 0)
		__atomic_store_n(&guard.books, books, __ATOMIC_RELAXED);
	return r;
}

GMI_PUBLIC int gm_fault_guard_install(struct gm_error *error)
{
	struct gm_error why = { 0, "" };
	struct books *books;
	sigset_t before;
	int r;

	if (!gmi_membarrier_init())
		return gmi_error(error, -ENOSYS, "the guard needs membarrier(2), which is not to be had");
	books = books_new(&why);
	if (books == NULL)
		return gmi_error(error, why.code, "%s", why.text);
	lock(&before);
	r = open_books(books);
	unlock(&before);
	if (r == 0)
		return 0;
	books_free(books);
	if (r == -EALREADY)
		return gmi_error(error, r, "the guard is installed already");
	return gmi_error(error, r, "installing the guard's handler: %s", strerror(-r));
}

GMI_PUBLIC int gm_fault_guard_remove(void)
{
	struct books *books;
	sigset_t before;
	int r = 0;

	lock(&before);
	drop_parents();
	books = guard.books;
	if (books == NULL)
		r = -ENOENT;
	else if (guard.root != NULL)
		r = -EBUSY;
	else
		r = gmi_sigbus_remove();
	if (r == 0)
		__atomic_store_n(&guard.books, NULL, __ATOMIC_RELAXED);
	unlock(&before);
	if (r == 0)
		books_free(books);
	return r;
}

GMI_PUBLIC int gm_fault_guard_fd(void)
{
	sigset_t before;
	int fd;

	lock(&before);
	fd = guard.books != NULL ? guard.books->fd : -ENOENT;
	unlock(&before);
	return fd;
}

/* With the lock. */
static int take_event(struct gm_fault *ret_fault, uint64_t *ret_missed)
{
	struct books *books = guard.books;
	size_t place;

	if (books == NULL)
		return -ENOENT;
	if (books->kept == books->taken)
		return -EAGAIN;
	place = books->taken % GM_FAULT_EVENTS_MAX;
	*ret_fault = books->events[place];
	*ret_missed = books->missed_before[place];
	books->taken++;
	if (books->kept == books->taken)
		gmi_event_clear(books->fd);
	return 0;
}

GMI_PUBLIC int gm_fault_guard_next(struct gm_fault *ret_fault, uint64_t *ret_missed)
{
	struct gm_fault fault;
	uint64_t missed;
	sigset_t before;
	int r;

	lock(&before);
	r = take_event(&fault, &missed);
	unlock(&before);
	if (r != 0)
		return r;
	*ret_fault = fault;
	if (ret_missed != NULL)
		*ret_missed = missed;
	return 0;
}
