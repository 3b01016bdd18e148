/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * No reader ever waits for a writer: a writer is stopped in the middle of its work, and a reader enters, reads, writes, pins and
 * leaves meanwhile. Where one waited for the other, the two would stand still, and the watchdog ends the program. Stopped
 *
 *	in callbacks	each of a listener's, a region's release, an update's completion
 *	by a signal	anywhere in a commit, at random
 *	by ptrace	behind every single machine instruction of two commits, a wait and a collect of a dirty log
 *
 * None of it looks at a clock.
 */
#include "support.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "space/space.h"

#define PAGE       GM_PAGE_BYTES
#define WATCHDOG_S 60
#define SIGNALS    200
#define SECTIONS   20

/* Places of the regions: one that stays, with a dirty log, and one that comes and goes. */
#define STAYS  gm_gpa(0)
#define PASSES gm_gpa(16 * PAGE)
#define STAMP  UINT64_C(0x0123456789abcdef)

static unsigned char *pages;
static struct gm_space *space;
static struct gm_memory *memory;
static struct gm_region *stays, *passes;
static struct gm_view view;

static void world_new(bool fence)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "stays",
		.kind = GM_RAM,
		.first = STAYS,
		.bytes = PAGE,
		.source = GM_SOURCE_POINTER,
		.dirty_page_bytes = PAGE,
	};
	struct gm_update *update;

	pages = test_pages(2 * PAGE);
	opts.hva = pages;
	((uint64_t *)pages)[0] = STAMP;
	((uint64_t *)pages)[PAGE / 8] = STAMP;
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	/* As on a machine without membarrier. */
	space->domain.fence |= fence;
	assert_int_equal(gm_region_new(&opts, &stays, NULL), 0);
	passes = test_ram("passes", PASSES.value, PAGE, pages + PAGE);
	update = gm_update_begin(space);
	assert_int_equal(gm_update_insert(update, stays), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "reader", 0), 0);
}

static void world_free(void)
{
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_region_unref(stays);
	gm_region_unref(passes);
	gm_space_unref(space);
	munmap(pages, 2 * PAGE);
}

static int change(int (*how)(struct gm_update *, struct gm_region *), struct gm_region *region,
		  void (*completion)(void *))
{
	struct gm_update *update = gm_update_begin(space);

	(void)how(update, region);
	if (completion != NULL)
		(void)gm_update_on_released(update, completion, NULL);
	return gm_update_commit(update, NULL);
}

/* One section with all that a device does in it. False when something is not as it has to be. The reader's thread. */
static bool read_section(uint64_t number)
{
	struct gm_span span;
	uint64_t value = 0;
	struct gm_pin pin;
	bool good;
	int r;

	gm_view_enter(&view);
	good = gm_load_u64(&view, STAYS, GM_RELAXED, &value) == 0 && value == STAMP;
	good &= gm_store_u64(&view, gm_gpa(8), GM_RELAXED, number) == 0;
	r = gm_load_u64(&view, PASSES, GM_RELAXED, &value);
	good &= r == -GM_EHOLE || (r == 0 && value == STAMP);
	good &= gm_span(&view, STAYS, PAGE, GM_READ, &span) == 0;
	good &= gm_view_pin(&view, &pin) == 0;
	gm_view_leave(&view);
	good &= __atomic_load_n((uint64_t *)span.hva + 1, __ATOMIC_RELAXED) == number;
	gm_view_unpin(&pin);
	return good;
}

static void read_sections(void)
{
	uint64_t i;

	for (i = 1; i <= SECTIONS; i++)
		assert_true(read_section(i));
}

/*
 * In callbacks
 */

static sem_t parked, resumed;
static const char *parked_in; /* NULL: the writer is done */
static bool refusing;
/* Callbacks on the reader's own thread, at the end, have nobody to wait for. */
static _Thread_local bool parks;

/* The writer's side. The reader has its turn between the two semaphores. */
static void park(const char *where)
{
	if (!parks)
		return;
	parked_in = where;
	sem_post(&parked);
	while (sem_wait(&resumed) != 0)
		;
}

static int park_prepare(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	(void)opaque;
	(void)change;
	(void)error;
	park("prepare");
	return 0;
}

static void park_abort(void *opaque, const struct gm_change *change)
{
	(void)opaque;
	(void)change;
	park("abort");
}

static void park_commit(void *opaque, const struct gm_change *change)
{
	(void)opaque;
	(void)change;
	park("commit");
}

static void park_released(void *opaque, struct gm_region *region)
{
	(void)opaque;
	(void)region;
	park("released");
}

static void park_release(void *opaque, void *hva, uint64_t bytes)
{
	(void)opaque;
	(void)hva;
	(void)bytes;
	park("release");
}

static void park_completion(void *opaque)
{
	(void)opaque;
	park("completion");
}

static int refuse(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	(void)opaque;
	(void)change;
	(void)error;
	return refusing ? -EAGAIN : 0;
}

static void *write_with_callbacks(void *opaque)
{
	const struct gm_listener first = {
		.size = sizeof(first),
		.name = "parks",
		.prepare = park_prepare,
		.abort = park_abort,
		.commit = park_commit,
		.released = park_released,
	};
	const struct gm_listener second = { .size = sizeof(second), .name = "refuses", .prepare = refuse };
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "owned",
		.kind = GM_RAM,
		.first = PASSES,
		.bytes = PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = pages + PAGE,
		.release = park_release,
	};
	struct gm_region *region;

	(void)opaque;
	parks = true;
	if (gm_space_add_listener(space, &first, NULL) != 0 || gm_space_add_listener(space, &second, NULL) != 0 ||
	    gm_region_new(&opts, &region, NULL) != 0)
		abort();
	if (change(gm_update_insert, region, NULL) != 0)
		abort();
	/* The space has the last reference then. */
	gm_region_unref(region);
	if (change(gm_update_remove, region, park_completion) != 0 || gm_space_wait(space, -1) != 0)
		abort();
	refusing = true;
	if (change(gm_update_insert, passes, NULL) != -EAGAIN)
		abort();
	park(NULL);
	return NULL;
}

static void stopped_in_callbacks(void **state)
{
	static const char *const places[] = { "prepare", "abort", "commit", "released", "release", "completion" };
	unsigned seen[6] = { 0 };
	pthread_t writer;
	bool done = false;
	size_t i;

	(void)state;
	world_new(false);
	refusing = false;
	assert_int_equal(sem_init(&parked, 0, 0), 0);
	assert_int_equal(sem_init(&resumed, 0, 0), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_with_callbacks, NULL), 0);
	while (!done) {
		while (sem_wait(&parked) != 0)
			;
		read_sections();
		done = parked_in == NULL;
		for (i = 0; i < 6 && !done; i++)
			seen[i] += strcmp(parked_in, places[i]) == 0;
		sem_post(&resumed);
	}
	pthread_join(writer, NULL);
	for (i = 0; i < 6; i++) {
		if (seen[i] == 0)
			fail_msg("the writer was never stopped in %s", places[i]);
	}
	sem_destroy(&parked);
	sem_destroy(&resumed);
	world_free();
}

/*
 * By a signal
 */

static bool stop;
static bool in_commit;   /* the writer's own */
static uint64_t commits; /* atomic */
/* What the handler did. */
enum answer {
	NO_ANSWER,
	NOT_NOW,
	STOPPED,
};
static int answer; /* atomic */

static void stop_here(int signal)
{
	const struct timespec nap = { 0, 20000 };
	int before = errno;

	(void)signal;
	__atomic_store_n(&answer, in_commit ? STOPPED : NOT_NOW, __ATOMIC_RELEASE);
	while (__atomic_load_n(&answer, __ATOMIC_ACQUIRE) == STOPPED)
		(void)nanosleep(&nap, NULL);
	errno = before;
}

/* A commit of the one that passes, again if it is still held from before. */
static void commit_passes(int (*how)(struct gm_update *, struct gm_region *))
{
	int r;

	for (;;) {
		__atomic_store_n(&in_commit, true, __ATOMIC_RELAXED);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		r = change(how, passes, NULL);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		__atomic_store_n(&in_commit, false, __ATOMIC_RELAXED);
		__atomic_fetch_add(&commits, 1, __ATOMIC_RELEASE);
		if (r == 0)
			return;
		if (r != -EBUSY || gm_space_wait(space, -1) != 0)
			abort();
	}
}

static void *write_all_the_time(void *opaque)
{
	(void)opaque;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		commit_passes(gm_update_insert);
		commit_passes(gm_update_remove);
	}
	return NULL;
}

/* True when the writer stands still inside a commit. */
static bool stop_writer(pthread_t writer)
{
	int said;

	__atomic_store_n(&answer, NO_ANSWER, __ATOMIC_RELEASE);
	assert_int_equal(pthread_kill(writer, SIGUSR1), 0);
	while ((said = __atomic_load_n(&answer, __ATOMIC_ACQUIRE)) == NO_ANSWER)
		usleep(1);
	return said == STOPPED;
}

static void stop_by_signals(bool fence)
{
	struct sigaction action = { .sa_handler = stop_here, .sa_flags = SA_RESTART };
	struct test_random random = { 3 };
	unsigned stopped = 0, between = 0;
	uint64_t i, done = 0;
	pthread_t writer;

	world_new(fence);
	stop = false;
	commits = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_all_the_time, NULL), 0);
	while (stopped < SIGNALS) {
		/* Somewhere else each time: the writer has to have got on. */
		while (__atomic_load_n(&commits, __ATOMIC_ACQUIRE) == done)
			assert_true(read_section(0));
		for (i = test_below(&random, 300); i > 0; i--)
			assert_true(read_section(i));
		if (!stop_writer(writer))
			continue;
		done = __atomic_load_n(&commits, __ATOMIC_ACQUIRE);
		stopped++;
		/* Published, and what was before not collected yet. */
		between += space->oldest != space->newest;
		read_sections();
		__atomic_store_n(&answer, NO_ANSWER, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
	print_message("stopped %u times in a commit, %u of them with an old map about\n", stopped, between);
	world_free();
}

static void stopped_by_signals(void **state)
{
	(void)state;
	stop_by_signals(false);
}

static void stopped_by_signals_with_fences(void **state)
{
	(void)state;
	stop_by_signals(true);
}

/*
 * By ptrace. A process cannot trace its own threads: so the writer and the reader are threads of a child. The parent has the
 * writer do one instruction, and then the reader a section, in turn.
 */

static int to_reader[2], from_reader[2];

/* Maps that the reader saw; shared with the parent. */
static uint64_t *moves;

static void *read_on_request(void *opaque)
{
	uint64_t number = 0, generation = 0;
	char request;

	(void)opaque;
	while (read(to_reader[0], &request, 1) == 1) {
		request = read_section(++number) ? 'y' : 'n';
		*moves += view.generation != generation;
		generation = view.generation;
		if (write(from_reader[1], &request, 1) != 1)
			abort();
	}
	return NULL;
}

static void write_once(struct gm_dirty_reader *log)
{
	struct gm_dirty_range range;
	struct gm_offset next;
	size_t count;

	if (change(gm_update_insert, passes, NULL) != 0 || change(gm_update_remove, passes, NULL) != 0)
		abort();
	if (gm_space_wait(space, -1) != 0 ||
	    gm_dirty_collect(log, gm_offset(0), UINT64_MAX, &range, 1, &count, &next) != 0)
		abort();
}

/* The child. Stops itself before and behind what is to be taken apart. */
static void be_traced(bool fence)
{
	struct gm_dirty_reader *log;
	pthread_t reader;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(77);
	world_new(fence);
	if (gm_dirty_reader_new(gm_region_dirty(stays), &log) != 0 ||
	    pthread_create(&reader, NULL, read_on_request, NULL) != 0)
		_exit(1);
	/* Symbols are looked up on their first use. */
	write_once(log);
	raise(SIGSTOP);
	write_once(log);
	raise(SIGSTOP);
	_exit(0);
}

/* Waits for the writer's next stop. Return: the signal it has; below 0: minus its exit code, or minus 1000. */
static int wait_for_stop(pid_t writer)
{
	int status;

	while (waitpid(writer, &status, __WALL) != writer) {
		if (errno != EINTR)
			return -1000;
	}
	if (WIFSTOPPED(status))
		return WSTOPSIG(status);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
}

static bool have_reader_read(void)
{
	char answered = 'y';

	return write(to_reader[1], &answered, 1) == 1 && read(from_reader[0], &answered, 1) == 1 && answered == 'y';
}

/* Return: how many instructions; what wait_for_stop() says when it did not go as it should; -2000 for the reader. */
static long step_through(pid_t writer)
{
	long steps = 0;
	int r = 0;

	while (r >= 0) {
		if (ptrace(PTRACE_SINGLESTEP, writer, NULL, NULL) != 0)
			return -1000;
		r = wait_for_stop(writer);
		if (r == SIGSTOP)
			return steps;
		steps++;
		if (r >= 0 && !have_reader_read())
			return -2000;
	}
	return r;
}

static void stop_by_ptrace(bool fence)
{
	pid_t writer;
	long steps;
	int r;

	moves = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(moves, MAP_FAILED);
	assert_int_equal(pipe(to_reader), 0);
	assert_int_equal(pipe(from_reader), 0);
	writer = fork();
	assert_true(writer >= 0);
	if (writer == 0)
		be_traced(fence);
	r = wait_for_stop(writer);
	if (r == -77)
		test_skip("no ptrace(2) here");
	assert_int_equal(r, SIGSTOP);
	/* Whatever becomes of us. */
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, writer, NULL, (void *)PTRACE_O_EXITKILL), 0);
	*moves = 0;
	steps = step_through(writer);
	print_message("%ld instructions, a section after each, on %llu maps\n", steps, (unsigned long long)*moves);
	assert_true(steps > 1000);
	/* The one before, and two more. */
	assert_true(*moves >= 3);
	assert_int_equal(ptrace(PTRACE_CONT, writer, NULL, NULL), 0);
	assert_int_equal(wait_for_stop(writer), 0);
	close(to_reader[0]);
	close(to_reader[1]);
	close(from_reader[0]);
	close(from_reader[1]);
	munmap(moves, PAGE);
}

static void stopped_after_each_instruction(void **state)
{
	(void)state;
	/* A sanitizer's own threads and tables are in it then, and make it a hundred times as long. */
	if (TEST_SANITIZED)
		test_skip("a sanitizer's own instructions would be stepped through too");
	stop_by_ptrace(false);
}

static void stopped_after_each_instruction_with_fences(void **state)
{
	(void)state;
	if (TEST_SANITIZED)
		test_skip("a sanitizer's own instructions would be stepped through too");
	stop_by_ptrace(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stopped_in_callbacks),
		cmocka_unit_test(stopped_by_signals),
		cmocka_unit_test(stopped_by_signals_with_fences),
		cmocka_unit_test(stopped_after_each_instruction),
		cmocka_unit_test(stopped_after_each_instruction_with_fences),
	};

	/* Who waits for a writer that stands still waits for ever. The signal ends the program. */
	(void)alarm(WATCHDOG_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
