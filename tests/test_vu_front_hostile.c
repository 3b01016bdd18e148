/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's side of vhost-user against back-ends that misbehave: a whole life is played with a back-end that does everything right but for
 * one message, for each message and each misbehaviour. Whatever it does, calls return with a reason, the space's updates go on, and no
 * descriptor is left.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <guestmem/vhost_user_front.h>

#include "front.h"

#define MIB UINT64_C(0x100000)
/* More messages than a life has. */
#define MESSAGES_MOST 80
#define FEATURES      ((UINT64_C(1) << 32) | (UINT64_C(1) << 30) | (UINT64_C(1) << 26))
#define PROTOCOL      (UINT64_C(1) | 2 | 8 | 512 | 32768)

enum misdeed {
	NONE,
	CLOSES,
	SILENT,
	OTHER_REQUEST,
	OTHER_VERSION,
	NOT_A_REPLY,
	TOO_SHORT,
	TOO_LONG,
	NO_PAYLOAD,
	WITH_FDS,
	HALF_A_HEADER,
	REFUSES,
	ALL_ONES,
	MISDEEDS
};

struct peer {
	int fd;
	enum misdeed misdeed;
	int at;  /* which message */
	int was; /* messages so far */
};

struct message {
	uint32_t request, flags, bytes;
	unsigned char payload[1024];
};

static bool read_all(int fd, void *data, size_t bytes)
{
	char room[CMSG_SPACE(64 * sizeof(int))];
	char *at = data;

	while (bytes > 0) {
		struct iovec part = { at, bytes };
		struct msghdr header = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
		};
		ssize_t got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
		struct cmsghdr *control;

		if (got <= 0)
			return false;
		for (control = CMSG_FIRSTHDR(&header); control != NULL; control = CMSG_NXTHDR(&header, control)) {
			size_t i, count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (i = 0; i < count; i++) {
				int one;

				memcpy(&one, CMSG_DATA(control) + i * sizeof(int), sizeof(one));
				close(one);
			}
		}
		at += got;
		bytes -= (size_t)got;
	}
	return true;
}

/* What a good back-end answers: the bytes of it, or -1 for nothing. */
static int good_answer(const struct message *message, unsigned char *data)
{
	uint64_t number = 0;

	switch (message->request) {
	case 1:
		number = FEATURES;
		break;
	case 15:
		number = PROTOCOL;
		break;
	case 17:
		number = 2;
		break;
	case 36:
		number = 32;
		break;
	case 11:
	case 24:
		memcpy(data, message->payload, message->bytes);
		return (int)message->bytes;
	case 6:
		break;
	default:
		if ((message->flags & 8) == 0)
			return -1;
	}
	memcpy(data, &number, sizeof(number));
	return sizeof(number);
}

static void send_with_fd(int fd, const void *data, size_t bytes)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {
		.header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int)) }
	};
	struct iovec part = { (void *)(uintptr_t)data, bytes };
	struct msghdr header = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int fds[2] = { fd, fd };

	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	(void)sendmsg(fd, &header, MSG_NOSIGNAL);
}

/* Answers, and does its misdeed when it is the message's turn. Return: false to end. */
static bool answer(struct peer *peer, const struct message *message)
{
	struct message reply = { message->request, 0x5, 0, { 0 } };
	int bytes = good_answer(message, reply.payload);
	enum misdeed misdeed = peer->was++ == peer->at ? peer->misdeed : NONE;
	uint64_t one = 1;

	if (misdeed == CLOSES)
		return false;
	if (bytes < 0)
		return true;
	/* A back-end of a single slot would be a good one. */
	if (misdeed == REFUSES && message->request != 36)
		memcpy(reply.payload, &one, sizeof(one));
	if (misdeed == ALL_ONES)
		memset(reply.payload, 0xff, sizeof(reply.payload));
	if (misdeed == OTHER_REQUEST)
		reply.request ^= 0x40;
	if (misdeed == OTHER_VERSION)
		reply.flags = 0x6;
	if (misdeed == NOT_A_REPLY)
		reply.flags = 0x1;
	bytes += misdeed == TOO_LONG ? 8 : misdeed == TOO_SHORT ? -4 : 0;
	bytes = misdeed == NO_PAYLOAD ? 0 : bytes;
	reply.bytes = (uint32_t)bytes;
	if (misdeed == WITH_FDS)
		send_with_fd(peer->fd, &reply, 12 + (size_t)bytes);
	else if (misdeed == HALF_A_HEADER)
		return send(peer->fd, &reply, 6, MSG_NOSIGNAL) == 6;
	else if (misdeed != SILENT)
		return send(peer->fd, &reply, 12 + (size_t)bytes, MSG_NOSIGNAL) >= 0;
	return true;
}

static void *play_peer(void *opaque)
{
	struct peer *peer = opaque;
	struct message message;

	while (read_all(peer->fd, &message, 12) && message.bytes <= sizeof(message.payload) &&
	       read_all(peer->fd, message.payload, message.bytes) && answer(peer, &message))
		;
	close(peer->fd);
	return NULL;
}

static unsigned count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static struct gm_region *new_memory(const char *name, uint64_t first)
{
	struct gm_region *region;

	assert_int_equal(gm_region_new_memory(name, gm_gpa(first), MIB, &region, NULL), 0);
	return region;
}

static int change(struct gm_space *space, struct gm_region *out, struct gm_region *in)
{
	struct gm_update *update = gm_update_begin(space);

	if (out != NULL)
		gm_update_remove(update, out);
	if (in != NULL)
		gm_update_insert(update, in);
	return gm_update_commit(update, NULL);
}

/* Plugs, replaces and unplugs. Of three updates the back-end may make one fail, by its misdeed; never those after it. */
static void play_updates(struct gm_space *space)
{
	struct gm_region *extra = new_memory("extra", 16 * MIB), *other = new_memory("other", 16 * MIB);
	int failed = 0;

	if (change(space, NULL, extra) == 0) {
		if (change(space, extra, other) == 0) {
			failed += change(space, other, NULL) != 0;
		} else {
			failed++;
			assert_int_equal(change(space, extra, NULL), 0);
		}
	} else {
		failed++;
		assert_int_equal(change(space, NULL, extra), 0);
		assert_int_equal(change(space, extra, other), 0);
		assert_int_equal(change(space, other, NULL), 0);
	}
	assert_true(failed <= 1);
	gm_region_unref(extra);
	gm_region_unref(other);
}

static void play_ring(struct gm_vu_front *front)
{
	struct gm_vu_front_ring ring = { gm_gpa(0), gm_gpa(4096), gm_gpa(8192), 64, 0, -1, -1, -1 };
	int kick = eventfd(0, EFD_CLOEXEC);
	struct gm_error error = { 0 };
	uint16_t next = 0;
	int r;

	ring.kick_fd = kick;
	r = gm_vu_front_ring_start(front, 1, &ring, &error);
	assert_true(r == 0 || (r < 0 && error.text[0] != '\0'));
	close(kick);
	if (r != 0)
		return;
	r = gm_vu_front_log(front, true, &error);
	assert_true(r == 0 || (r < 0 && error.text[0] != '\0'));
	(void)!gm_vu_front_log_sync(front);
	r = gm_vu_front_ring_stop(front, 1, &next, &error);
	assert_true(r == 0 || gm_vu_front_failure(front, NULL) == r);
}

/* Return: how many messages the back-end saw. */
static int play(enum misdeed misdeed, int at, uint64_t without)
{
	/* Where there is nothing to wait for, a machine that is busy may take its time. */
	bool is_waited_for = misdeed == SILENT || misdeed == HALF_A_HEADER;
	struct gm_vu_front_opts opts = { .size = sizeof(opts),
					 .timeout_ms = is_waited_for ? 20 : 5000,
					 .without = without };
	struct gm_region *ram = new_memory("ram", 0);
	struct peer peer = { .misdeed = misdeed, .at = at };
	struct gm_vu_front *front = NULL;
	unsigned char config[8];
	struct gm_space *space;
	struct gm_error error = { 0 };
	pthread_t thread;
	int ends[2], r;

	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	assert_int_equal(change(space, NULL, ram), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	peer.fd = ends[1];
	assert_int_equal(pthread_create(&thread, NULL, play_peer, &peer), 0);
	r = gm_vu_front_new(ends[0], &opts, &front, &error);
	if (r == 0) {
		(void)!gm_vu_front_set_features(front, gm_vu_front_features(front), NULL);
		(void)!gm_vu_front_config_read(front, 0, config, sizeof(config), NULL);
		(void)!gm_vu_front_config_write(front, 0, config, sizeof(config), NULL);
		if (gm_vu_front_attach(front, space, &error) == 0) {
			play_ring(front);
			play_updates(space);
		}
		gm_vu_front_free(front);
	} else {
		assert_true(error.text[0] != '\0');
		close(ends[0]);
	}
	pthread_join(thread, NULL);
	assert_int_equal(change(space, ram, NULL), 0);
	gm_region_unref(ram);
	gm_space_unref(space);
	return peer.was;
}

static void play_all(uint64_t without)
{
	int messages = play(NONE, -1, without), at, misdeed;
	unsigned fds = count_fds();

	assert_true(messages > 15 && messages < MESSAGES_MOST);
	for (misdeed = CLOSES; misdeed < MISDEEDS; misdeed++) {
		for (at = 0; at < messages; at++) {
			(void)play((enum misdeed)misdeed, at, without);
			assert_int_equal(count_fds(), fds);
		}
	}
}

static void misdeeds(void **state)
{
	(void)state;
	play_all(0);
}

static void misdeeds_in_tables(void **state)
{
	(void)state;
	play_all(GM_VU_FRONT_MEM_SLOTS);
}

static void misdeeds_unacknowledged(void **state)
{
	(void)state;
	play_all(GM_VU_FRONT_REPLY_ACK);
}

/* Pages of a region that are dirty; forgets them. */
static uint64_t dirty_pages(struct gm_dirty_reader *reader)
{
	struct gm_dirty_range range;
	struct gm_offset next;
	size_t count;
	uint64_t pages = 0;

	if (gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, &range, 1, &count, &next) >= 0 && count == 1)
		pages = (range.last.value - range.first.value + 1) / 4096;
	return pages;
}

/* A back-end that behaves and logs, until it is gone. */
struct logged {
	struct peer peer;
	pthread_t thread;
	struct gm_region *ram;
	struct gm_dirty_reader *reader;
	struct gm_space *space;
	struct gm_vu_front *front;
};

static void open_logged(struct logged *logged, int timeout_ms)
{
	struct gm_region_opts ram = { .size = sizeof(ram),
				      .name = "ram",
				      .kind = GM_RAM,
				      .bytes = MIB,
				      .source = GM_SOURCE_MEMFD,
				      .dirty_page_bytes = 4096 };
	struct gm_vu_front_opts opts = { .size = sizeof(opts), .timeout_ms = timeout_ms };
	int ends[2];

	assert_int_equal(gm_region_new(&ram, &logged->ram, NULL), 0);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(logged->ram), &logged->reader), 0);
	assert_int_equal(gm_space_new(NULL, &logged->space, NULL), 0);
	assert_int_equal(change(logged->space, NULL, logged->ram), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	logged->peer = (struct peer){ .fd = ends[1], .misdeed = NONE, .at = -1 };
	assert_int_equal(pthread_create(&logged->thread, NULL, play_peer, &logged->peer), 0);
	assert_int_equal(gm_vu_front_new(ends[0], &opts, &logged->front, NULL), 0);
	assert_int_equal(gm_vu_front_attach(logged->front, logged->space, NULL), 0);
	assert_int_equal(gm_vu_front_log(logged->front, true, NULL), 0);
}

/* As the back-end does. */
static void log_pages(struct logged *logged, uint64_t bits)
{
	__atomic_fetch_or(&logged->front->log[0], bits, __ATOMIC_SEQ_CST);
}

static void end_peer(struct logged *logged)
{
	assert_int_equal(shutdown(logged->peer.fd, SHUT_RDWR), 0);
	pthread_join(logged->thread, NULL);
}

static void close_logged(struct logged *logged)
{
	gm_vu_front_free(logged->front);
	gm_dirty_reader_free(logged->reader);
	gm_region_unref(logged->ram);
	gm_space_unref(logged->space);
}

/* A back-end that has gone has written before: its log counts, whatever becomes of memory. */
static void log_of_the_dead(void **state)
{
	struct gm_region *extra = new_memory("extra", 16 * MIB);
	struct logged logged;

	(void)state;
	open_logged(&logged, 5000);
	log_pages(&logged, 2);
	end_peer(&logged);
	assert_int_equal(change(logged.space, NULL, extra), -ECONNABORTED);
	assert_int_equal(change(logged.space, NULL, extra), 0);
	assert_int_equal(gm_vu_front_log_sync(logged.front), 0);
	assert_int_equal(dirty_pages(logged.reader), 1);
	log_pages(&logged, 12);
	assert_int_equal(change(logged.space, logged.ram, NULL), 0);
	assert_int_equal(dirty_pages(logged.reader), 2);
	close_logged(&logged);
	gm_region_unref(extra);
}

/* Switched off, and the back-end was gone before it was told; or went on: then what it says later is not lost either. */
static void log_of_the_dying(void **state)
{
	struct logged logged;

	(void)state;
	open_logged(&logged, 5000);
	log_pages(&logged, 2);
	end_peer(&logged);
	assert_int_equal(gm_vu_front_log(logged.front, false, NULL), -ECONNABORTED);
	assert_int_equal(dirty_pages(logged.reader), 1);
	log_pages(&logged, 4);
	assert_int_equal(gm_vu_front_log_sync(logged.front), 0);
	assert_int_equal(dirty_pages(logged.reader), 1);
	close_logged(&logged);
}

/* It is given a larger log, and does not say whether it uses it. */
static void log_of_the_silent(void **state)
{
	struct gm_region *high = new_memory("high", UINT64_C(1) << 30);
	struct logged logged;

	(void)state;
	open_logged(&logged, 500);
	logged.peer.at = logged.peer.was;
	logged.peer.misdeed = SILENT;
	assert_int_equal(change(logged.space, NULL, high), -ETIMEDOUT);
	log_pages(&logged, 2);
	assert_non_null(logged.front->unsure_log);
	__atomic_fetch_or(&logged.front->unsure_log[0], 4, __ATOMIC_SEQ_CST);
	assert_int_equal(gm_vu_front_log_sync(logged.front), 0);
	assert_int_equal(dirty_pages(logged.reader), 2);
	assert_int_equal(change(logged.space, NULL, high), 0);
	__atomic_fetch_or(&logged.front->unsure_log[0], 8, __ATOMIC_SEQ_CST);
	assert_int_equal(gm_vu_front_log_sync(logged.front), 0);
	assert_int_equal(dirty_pages(logged.reader), 1);
	assert_int_equal(change(logged.space, high, NULL), 0);
	end_peer(&logged);
	close_logged(&logged);
	gm_region_unref(high);
}

/* What a listener after the front-end's does between its prepare and its commit. */
struct meddler {
	struct gm_vu_front *front;
	bool starts, logs, frees;
	int result;
};

static int meddle(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	const struct gm_vu_front_ring ring = { gm_gpa(0), gm_gpa(4096), gm_gpa(8192), 64, 0, -1, -1, -1 };
	struct meddler *meddler = opaque;

	(void)change;
	(void)error;
	if (meddler->starts)
		meddler->result = gm_vu_front_ring_start(meddler->front, 0, &ring, NULL);
	if (meddler->logs)
		meddler->result = gm_vu_front_log(meddler->front, true, NULL);
	if (meddler->frees)
		gm_vu_front_free(meddler->front);
	return 0;
}

static void in_the_middle(void **state)
{
	struct meddler meddler = { 0 };
	const struct gm_listener listener = {
		.size = sizeof(listener), .name = "meddler", .opaque = &meddler, .prepare = meddle
	};
	struct gm_region *high = new_memory("high", UINT64_C(1) << 30);
	struct logged logged;

	(void)state;
	open_logged(&logged, 5000);
	assert_int_equal(gm_vu_front_log(logged.front, false, NULL), 0);
	meddler.front = logged.front;
	assert_int_equal(gm_space_add_listener(logged.space, &listener, NULL), 0);
	/* Switched on while memory comes: the log has room for it. */
	meddler.logs = true;
	assert_int_equal(change(logged.space, NULL, high), 0);
	assert_int_equal(meddler.result, 0);
	assert_true(logged.front->log_bytes > (UINT64_C(1) << 30) / 4096 / 8);
	/* A ring in memory that goes. */
	meddler = (struct meddler){ .front = logged.front, .starts = true };
	assert_int_equal(change(logged.space, logged.ram, NULL), 0);
	assert_int_equal(meddler.result, -GM_EHOLE);
	assert_int_equal(gm_vu_front_failure(logged.front, NULL), 0);
	/* The worst place to free it: it stays, and all else goes on. */
	meddler = (struct meddler){ .front = logged.front, .frees = true };
	assert_int_equal(change(logged.space, NULL, logged.ram), 0);
	meddler.frees = false;
	assert_int_equal(gm_space_remove_listener(logged.space, "meddler"), 0);
	assert_int_equal(change(logged.space, high, NULL), 0);
	gm_region_unref(high);
	close_logged(&logged);
	pthread_join(logged.thread, NULL);
}

static void not_a_socket(void **state)
{
	struct gm_vu_front *front;
	struct gm_error error;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(gm_vu_front_new(ends[0], NULL, &front, &error), -ENOTSOCK);
	assert_int_equal(gm_vu_front_new(-1, NULL, &front, &error), -EBADF);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
	assert_int_equal(gm_vu_front_new(ends[0], NULL, &front, &error), -ENOTSOCK);
	close(ends[0]);
	close(ends[1]);
	gm_vu_front_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misdeeds),
		cmocka_unit_test(misdeeds_in_tables),
		cmocka_unit_test(misdeeds_unacknowledged),
		cmocka_unit_test(log_of_the_dead),
		cmocka_unit_test(log_of_the_dying),
		cmocka_unit_test(log_of_the_silent),
		cmocka_unit_test(in_the_middle),
		cmocka_unit_test(not_a_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
