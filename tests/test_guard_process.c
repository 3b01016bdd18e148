/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The guard and its process: what is installed, what stood there before, what is not ours, fork(2), and failures of the installing.
 * What may end the process runs in a child, without cmocka and its handlers.
 */
#include "guard_world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "resources.h"

/* In a child: the parent sees which line it was. */
#define MUST(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                        \
			_exit(99);                                                                                     \
		}                                                                                                      \
	} while (0)

#define SURVIVES 0

/* The status of a child that does @what, as wait(2) says it: a signal, or SURVIVES. */
static int child(void (*what)(void))
{
	struct sigaction default_action = { .sa_handler = SIG_DFL };
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)sigaction(SIGBUS, &default_action, NULL);
		what();
		_exit(SURVIVES);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 99);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* A page that nobody guards, and that is gone. */
static volatile unsigned char *foreign_page(void)
{
	int fd = memfd_create("foreign", MFD_CLOEXEC);
	unsigned char *page;

	MUST(fd >= 0 && ftruncate(fd, PAGE) == 0);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(page != MAP_FAILED && ftruncate(fd, 0) == 0);
	close(fd);
	return page;
}

static sigjmp_buf back;
static volatile const void *seen_address;
static volatile int seen, seen_mask;

/* Which of three signals are blocked. */
static int mask_now(void)
{
	sigset_t mask;

	(void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
	return sigismember(&mask, SIGBUS) | sigismember(&mask, SIGUSR1) << 1 | sigismember(&mask, SIGUSR2) << 2;
}

static void jump_back(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	seen_address = info->si_addr;
	seen_mask = mask_now();
	seen++;
	siglongjmp(back, 1);
}

static void plain_jump_back(int number)
{
	seen = number;
	seen_mask = mask_now();
	siglongjmp(back, 1);
}

static void count(int number)
{
	(void)number;
	seen++;
}

static void before(void (*plain)(int), void (*full)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_flags = flags };

	if (full != NULL) {
		action.sa_flags |= SA_SIGINFO;
		action.sa_sigaction = full;
	} else {
		action.sa_handler = plain;
	}
	(void)sigaddset(&action.sa_mask, SIGUSR1);
	MUST(sigaction(SIGBUS, &action, NULL) == 0);
	MUST(gm_fault_guard_install(NULL) == 0);
}

static void chains_to_a_full_handler(void)
{
	volatile unsigned char *page = foreign_page();

	before(NULL, jump_back, 0);
	if (sigsetjmp(back, 1) == 0)
		(void)page[77];
	MUST(seen == 1 && seen_address == page + 77);
	/* SIGBUS itself, what was asked for, and no more; and afterwards what was before. */
	MUST(seen_mask == 3 && mask_now() == 0);
	/* It is still ours, and still there. */
	if (sigsetjmp(back, 1) == 0)
		page[78] = 1;
	MUST(seen == 2 && seen_address == page + 78);
}

static void chains_to_a_plain_handler(void)
{
	volatile unsigned char *page = foreign_page();

	before(plain_jump_back, NULL, SA_NODEFER);
	if (sigsetjmp(back, 1) == 0)
		(void)page[0];
	MUST(seen == SIGBUS && seen_mask == 2);
}

static void chains_once(void)
{
	volatile unsigned char *page = foreign_page();

	before(NULL, jump_back, (int)SA_RESETHAND);
	if (sigsetjmp(back, 1) == 0)
		(void)page[0];
	MUST(seen == 1);
	(void)page[0];
}

static void chains_to_the_default(void)
{
	volatile unsigned char *page = foreign_page();

	before(SIG_DFL, NULL, 0);
	(void)page[0];
}

static void can_not_ignore_a_fault(void)
{
	volatile unsigned char *page = foreign_page();

	before(SIG_IGN, NULL, 0);
	(void)page[0];
}

static void ignores_what_is_sent(void)
{
	before(SIG_IGN, NULL, 0);
	MUST(raise(SIGBUS) == 0 && kill(getpid(), SIGBUS) == 0);
}

static void dies_of_what_is_sent(void)
{
	before(SIG_DFL, NULL, 0);
	(void)kill(getpid(), SIGBUS);
}

static void hands_on_what_is_sent(void)
{
	before(count, NULL, 0);
	MUST(raise(SIGBUS) == 0);
	MUST(seen == 1);
}

static void what_is_not_ours_is_passed_on(void **state)
{
	(void)state;
	assert_int_equal(child(chains_to_a_full_handler), SURVIVES);
	assert_int_equal(child(chains_to_a_plain_handler), SURVIVES);
	assert_int_equal(child(chains_once), SIGBUS);
	assert_int_equal(child(chains_to_the_default), SIGBUS);
	assert_int_equal(child(can_not_ignore_a_fault), SIGBUS);
	assert_int_equal(child(ignores_what_is_sent), SURVIVES);
	assert_int_equal(child(dies_of_what_is_sent), SIGBUS);
	assert_int_equal(child(hands_on_what_is_sent), SURVIVES);
}

static bool is_handler(void (*handler)(int))
{
	struct sigaction action;

	return sigaction(SIGBUS, NULL, &action) == 0 && action.sa_handler == handler;
}

static void installs_nothing_unasked(void)
{
	struct guard_world world;

	(void)signal(SIGBUS, count);
	guard_world_new(&world);
	MUST(is_handler(count));
	MUST(!gm_region_is_guarded(world.regions[0]));
	guard_world_free(&world);
	MUST(gm_fault_guard_install(NULL) == 0);
	MUST(!is_handler(count));
	MUST(gm_fault_guard_remove() == 0);
	MUST(is_handler(count));
}

static void dies_without_a_guard(void)
{
	struct guard_world world;
	uint64_t number;

	guard_world_new(&world);
	/* What was made before is not guarded. */
	MUST(gm_fault_guard_install(NULL) == 0);
	lose_from(world.regions[0], 0);
	(void)!gm_load_u64(&world.view, gm_gpa(FIRST(0)), GM_RELAXED, &number);
}

static void dies_where_the_signal_is_blocked(void)
{
	struct guard_world world;
	uint64_t number;
	sigset_t mask;

	MUST(gm_fault_guard_install(NULL) == 0);
	guard_world_new(&world);
	lose_from(world.regions[0], 0);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGBUS);
	(void)pthread_sigmask(SIG_BLOCK, &mask, NULL);
	(void)!gm_load_u64(&world.view, gm_gpa(FIRST(0)), GM_RELAXED, &number);
}

/* The kernel's own accesses raise no signal, so streams need none to be told of. */
static void streams_need_no_signal(void)
{
	struct guard_world world;
	sigset_t mask;
	int fd;

	MUST(gm_fault_guard_install(NULL) == 0);
	guard_world_new(&world);
	lose_from(world.regions[0], 1);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGBUS);
	(void)pthread_sigmask(SIG_BLOCK, &mask, NULL);
	fd = memfd_create("file", MFD_CLOEXEC);
	MUST(gm_read_to_fd(&world.view, gm_gpa(FIRST(0)), 2 * PAGE, fd, -1, NULL) == PAGE);
	MUST(gm_region_faults(world.regions[0]) == 1);
	MUST(gm_span_check(&world.view, gm_gpa(FIRST(0)), 2 * PAGE) == -GM_EFAULTED);
}

/* A mended fault leaves no trace: errno, the mask, and the handlers. */
static void leaves_no_trace(void)
{
	struct guard_world world;
	uint64_t number;

	MUST(gm_fault_guard_install(NULL) == 0);
	guard_world_new(&world);
	lose_from(world.regions[0], 0);
	/* So that a system call of the handler fails. */
	close(gm_fault_guard_fd());
	errno = 4321;
	MUST(gm_load_u64(&world.view, gm_gpa(FIRST(0)), GM_RELAXED, &number) == -GM_EFAULTED);
	MUST(errno == 4321 && mask_now() == 0);
	MUST(gm_load_u64(&world.view, gm_gpa(FIRST(0) + PAGE), GM_RELAXED, &number) == -GM_EFAULTED);
	guard_world_free(&world);
	MUST(gm_fault_guard_remove() == 0);
	MUST(is_handler(SIG_DFL));
}

/* A signal handler of the application touches guest memory, on a small stack of its own. */
static struct guard_world *handled;

static void touch_in_handler(int number)
{
	uint64_t value;

	(void)number;
	seen = gm_load_u64(&handled->view, gm_gpa(FIRST(0)), GM_RELAXED, &value);
}

static void works_on_another_stack(void)
{
	stack_t stack = { .ss_size = 65536, .ss_sp = malloc(65536) };
	struct sigaction action = { .sa_handler = touch_in_handler, .sa_flags = SA_ONSTACK };
	struct guard_world world;

	MUST(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
	MUST(gm_fault_guard_install(NULL) == 0);
	guard_world_new(&world);
	handled = &world;
	lose_from(world.regions[0], 0);
	MUST(raise(SIGUSR1) == 0);
	MUST(seen == -GM_EFAULTED);
}

static void only_what_is_asked_for(void **state)
{
	(void)state;
	assert_int_equal(child(installs_nothing_unasked), SURVIVES);
	assert_int_equal(child(dies_without_a_guard), SIGBUS);
	assert_int_equal(child(dies_where_the_signal_is_blocked), SIGBUS);
	assert_int_equal(child(streams_need_no_signal), SURVIVES);
	assert_int_equal(child(leaves_no_trace), SURVIVES);
	/* ThreadSanitizer runs an application's handlers with SIGBUS blocked. */
	if (!TEST_THREAD_SANITIZED)
		assert_int_equal(child(works_on_another_stack), SURVIVES);
}

static void installing_and_removing(void **state)
{
	unsigned char *pages = test_pages(PAGE);
	struct gm_error error = { 0, "" };
	struct gm_region *region, *pointer;
	struct gm_fault fault;

	(void)state;
	assert_int_equal(gm_fault_guard_remove(), -ENOENT);
	assert_int_equal(gm_fault_guard_fd(), -ENOENT);
	assert_int_equal(gm_fault_guard_next(&fault, NULL), -ENOENT);
	assert_int_equal(gm_fault_guard_install(&error), 0);
	assert_int_equal(gm_fault_guard_install(&error), -EALREADY);
	assert_int_equal(error.code, -EALREADY);
	assert_string_equal(error.text, "the guard is installed already");
	assert_true(gm_fault_guard_fd() >= 0);
	assert_int_equal(gm_fault_guard_next(&fault, NULL), -EAGAIN);
	region = guard_region("ram", 0, BYTES, 0, 0);
	assert_true(gm_region_is_guarded(region));
	/* A caller's memory is not ours to replace. */
	pointer = test_ram("pointer", 0, PAGE, pages);
	assert_false(gm_region_is_guarded(pointer));
	assert_int_equal(gm_fault_guard_remove(), -EBUSY);
	gm_region_unref(region);
	(void)signal(SIGBUS, count);
	assert_int_equal(gm_fault_guard_remove(), -EBUSY);
	assert_true(gm_fault_guard_fd() >= 0);
	drop_events();
	gm_region_unref(pointer);
	munmap(pages, PAGE);
}

/* The handler on top goes, by the one who put it there; then the guard can. */
static void removing_in_order(void)
{
	struct sigaction ours;

	MUST(gm_fault_guard_install(NULL) == 0);
	MUST(sigaction(SIGBUS, NULL, &ours) == 0);
	(void)signal(SIGBUS, count);
	MUST(gm_fault_guard_remove() == -EBUSY);
	MUST(sigaction(SIGBUS, &ours, NULL) == 0);
	MUST(gm_fault_guard_remove() == 0);
	MUST(gm_fault_guard_install(NULL) == 0);
	MUST(gm_fault_guard_remove() == 0);
	MUST(is_handler(SIG_DFL));
}

/* Each thing that installing needs fails, and a region's guard has no memory: nothing is left of it. */
static void failures_leave_nothing(void)
{
	struct gm_error error = { 0, "" };
	unsigned fds = test_count_entries("/proc/self/fd"), failed = 0;
	struct gm_region *region;
	int r;

	for (long n = 1;; n++) {
		gmi_fault_arm(n, EMFILE);
		r = gm_fault_guard_install(&error);
		gmi_fault_arm(0, 0);
		if (r == 0)
			break;
		MUST(r == error.code && error.text[0] != '\0');
		MUST(r == (n == 1 ? -ENOSYS : n == 2 ? -ENOMEM : -EMFILE));
		MUST(is_handler(SIG_DFL) && test_count_entries("/proc/self/fd") == fds);
		MUST(gm_fault_guard_fd() == -ENOENT);
		failed++;
	}
	MUST(failed == 5);
	for (long n = 1;; n++) {
		struct gm_region_opts opts = {
			.size = sizeof(opts),
			.name = "ram",
			.kind = GM_RAM,
			.bytes = BYTES,
		};

		gmi_fault_arm(n, ENOMEM);
		r = gm_region_new(&opts, &region, &error);
		gmi_fault_arm(0, 0);
		if (r == 0)
			break;
		MUST(test_count_entries("/proc/self/fd") == fds + 1);
		if (strstr(error.text, "no memory for its guard") != NULL)
			failed++;
	}
	MUST(failed == 6);
	gm_region_unref(region);
	MUST(gm_fault_guard_remove() == 0 && test_count_entries("/proc/self/fd") == fds);
}

static void it_comes_and_goes(void **state)
{
	(void)state;
	assert_int_equal(child(removing_in_order), SURVIVES);
	assert_int_equal(child(failures_leave_nothing), SURVIVES);
}

/* A child keeps the guard for what it has, and for what it makes; not for what it has not. */
static void guards_a_child(void)
{
	struct gm_region *kept, *dropped, *made;
	volatile unsigned char *bytes;
	int status;
	pid_t pid;

	MUST(gm_fault_guard_install(NULL) == 0);
	kept = guard_region("kept", 0, BYTES, 1, GM_REGION_FORK);
	dropped = guard_region("dropped", BYTES, BYTES, 2, 0);
	pid = fork();
	if (pid == 0) {
		bytes = gm_region_hva(kept);
		lose_from(kept, 0);
		MUST(bytes[5] == 0 && gm_region_faults(kept) == 1);
		made = guard_region("made", 0, BYTES, 3, 0);
		lose_from(made, 0);
		bytes = gm_region_hva(made);
		MUST(bytes[5] == 0 && gm_region_faults(made) == 1);
		gm_region_unref(made);
		MUST(gm_fault_guard_remove() == -EBUSY);
		gm_region_unref(kept);
		MUST(gm_fault_guard_remove() == 0);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	pid = fork();
	if (pid == 0) {
		/* Something of the child's own, where the parent has a region. */
		int fd = memfd_create("own", MFD_CLOEXEC);

		MUST(ftruncate(fd, PAGE) == 0);
		bytes = mmap(gm_region_hva(dropped), PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
		MUST(bytes == gm_region_hva(dropped) && ftruncate(fd, 0) == 0);
		_exit(bytes[0] == 0 ? 1 : 2);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	/* The parent has its own. */
	MUST(gm_region_faults(kept) == 0);
	bytes = gm_region_hva(kept);
	MUST(bytes[5] == 0 && gm_region_faults(kept) == 1);
	gm_region_unref(kept);
	gm_region_unref(dropped);
	MUST(gm_fault_guard_remove() == 0);
}

static void forking(void **state)
{
	(void)state;
	assert_int_equal(child(guards_a_child), SURVIVES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_ours_is_passed_on),
		cmocka_unit_test(only_what_is_asked_for),
		cmocka_unit_test(it_comes_and_goes),
		cmocka_unit_test(forking),
		cmocka_unit_test(installing_and_removing), /* leaves a guard behind: last */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
