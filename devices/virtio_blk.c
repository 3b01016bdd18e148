/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device: what it offers, its queues, and the loop that drives their requests. Owns the device, its queues and
 * the slots of their requests.
 *
 * Sections are as short as can be: one around taking and starting a chain, one around finishing a transfer; none is open
 * while the disk works or a callback runs. Between the two a transfer has its pin.
 *
 * Invariants: @in_flight counts the busy slots; @is_running is set while this file is on the stack for that queue. Locking: see
 * vblk_private.h. Start at vblk_queue_run().
 */
#include "virtio_blk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "vblk_private.h"

_Static_assert(offsetof(struct vblk_config, unused1) + 3 == VBLK_CONFIG_BYTES, "layout of VIRTIO 1.2, 5.2.4");

/* Room for "/queue63" behind the longest name. */
_Static_assert(VBLK_NAME_MAX + sizeof("/queue63") <= GM_VIEW_NAME_MAX, "a queue's name fits a view's");

#define BLOCK_BYTES_MAX 65536

static int check_opts(const struct vblk_opts *opts)
{
	if (opts == NULL || opts->name == NULL || opts->name[0] == '\0' || strlen(opts->name) >= VBLK_NAME_MAX)
		return -EINVAL;
	if (opts->disk == NULL || opts->disk->submit == NULL)
		return -EINVAL;
	if (opts->disk->id != NULL && strlen(opts->disk->id) > VBLK_ID_BYTES)
		return -EINVAL;
	if (opts->queues > VBLK_QUEUES_MAX)
		return -EINVAL;
	if (opts->queue_size_max != 0 &&
	    (opts->queue_size_max > VBLK_QUEUE_SIZE_MAX || !gm_is_power_of_2(opts->queue_size_max)))
		return -EINVAL;
	if (opts->block_bytes != 0 && (opts->block_bytes < VBLK_SECTOR_BYTES || opts->block_bytes > BLOCK_BYTES_MAX ||
				       !gm_is_power_of_2(opts->block_bytes)))
		return -EINVAL;
	return 0;
}

static uint64_t offered_features(const struct vblk *vblk, bool read_only)
{
	uint64_t features = VBLK_F_SEG_MAX | VBLK_F_BLK_SIZE | VBLK_F_FLUSH | VBLK_F_INDIRECT_DESC | VBLK_F_EVENT_IDX |
			    VBLK_F_VERSION_1;

	if (vblk->queues_count > 1)
		features |= VBLK_F_MQ;
	if (read_only)
		return features | VBLK_F_RO;
	if (vblk->disk.can_discard)
		features |= VBLK_F_DISCARD;
	if (vblk->disk.can_zero)
		features |= VBLK_F_WRITE_ZEROES;
	return features;
}

/*
 * Data buffers that leave room for header and status in a chain of the queue's size, which is the longest there may be. Linux
 * goes by this number alone when it makes an indirect table, and a table that is longer than the queue would break it.
 */
static uint32_t segments_max(uint32_t queue_size)
{
	const uint32_t room = queue_size > 3 ? queue_size - 2 : 1;

	return VBLK_MIN(room, (uint32_t)VBLK_SEGMENTS_MAX);
}

static void fill_config(struct vblk *vblk, uint32_t block_bytes)
{
	struct vblk_config *config = &vblk->config;
	const uint32_t block_sectors = block_bytes / VBLK_SECTOR_BYTES;

	config->capacity = gm_le64(vblk->capacity);
	config->seg_max = gm_le32(segments_max(vblk->queue_size_max));
	config->blk_size = gm_le32(block_bytes);
	config->num_queues = gm_le16((uint16_t)vblk->queues_count);
	if (vblk->offered & VBLK_F_DISCARD) {
		config->max_discard_sectors = gm_le32(VBLK_RANGE_SECTORS_MAX);
		config->max_discard_seg = gm_le32(VBLK_RANGES_MAX);
		config->discard_sector_alignment = gm_le32(block_sectors);
	}
	if (vblk->offered & VBLK_F_WRITE_ZEROES) {
		config->max_write_zeroes_sectors = gm_le32(VBLK_RANGE_SECTORS_MAX);
		config->max_write_zeroes_seg = gm_le32(VBLK_RANGES_MAX);
		config->write_zeroes_may_unmap = 1;
	}
}

int vblk_new(struct gm_memory *memory, const struct vblk_opts *opts, struct vblk **ret_vblk)
{
	struct vblk *vblk;
	unsigned count, i;
	int r = memory == NULL ? -EINVAL : check_opts(opts);

	if (r < 0)
		return r;
	count = opts->queues ? opts->queues : 1;
	vblk = calloc(1, sizeof(*vblk) + count * sizeof(vblk->queues[0]));
	if (vblk == NULL)
		return -ENOMEM;
	vblk->memory = gm_memory_ref(memory);
	vblk->disk = *opts->disk;
	vblk->capacity = vblk->disk.bytes / VBLK_SECTOR_BYTES + (vblk->disk.bytes % VBLK_SECTOR_BYTES != 0);
	vblk->queues_count = count;
	vblk->queue_size_max = opts->queue_size_max ? opts->queue_size_max : VBLK_QUEUE_SIZE_DEFAULT;
	vblk->interrupt = opts->interrupt;
	vblk->broken = opts->broken;
	vblk->opaque = opts->opaque;
	memcpy(vblk->name, opts->name, strlen(opts->name));
	if (opts->disk->id != NULL)
		memcpy(vblk->id, opts->disk->id, strlen(opts->disk->id));
	vblk->offered = offered_features(vblk, opts->read_only || opts->disk->read_only);
	fill_config(vblk, opts->block_bytes ? opts->block_bytes : VBLK_SECTOR_BYTES);
	for (i = 0; i < count; i++) {
		vblk->queues[i].vblk = vblk;
		vblk->queues[i].index = i;
		pthread_mutex_init(&vblk->queues[i].error_lock, NULL);
	}
	*ret_vblk = vblk;
	return 0;
}

void vblk_free(struct vblk *vblk)
{
	unsigned i;
	int r;

	if (vblk == NULL)
		return;
	for (i = 0; i < vblk->queues_count; i++) {
		r = vblk_queue_unset(vblk, i, NULL);
		/* A transfer in flight would write to what is freed here. */
		assert(r == 0);
		(void)r;
		pthread_mutex_destroy(&vblk->queues[i].error_lock);
	}
	gm_memory_unref(vblk->memory);
	free(vblk);
}

uint64_t vblk_features(const struct vblk *vblk)
{
	return vblk->offered;
}

int vblk_set_features(struct vblk *vblk, uint64_t features)
{
	unsigned i;

	if ((features & ~vblk->offered) != 0 || !(features & VBLK_F_VERSION_1))
		return -EINVAL;
	for (i = 0; i < vblk->queues_count; i++) {
		if (vblk->queues[i].is_set)
			return -EBUSY;
	}
	vblk->features = features;
	vblk->features_set = true;
	return 0;
}

int vblk_config_read(const struct vblk *vblk, size_t offset, void *data, size_t bytes)
{
	if (offset > VBLK_CONFIG_BYTES || bytes > VBLK_CONFIG_BYTES - offset)
		return -EINVAL;
	memcpy(data, (const unsigned char *)&vblk->config + offset, bytes);
	return 0;
}

/*
 * Queues
 */

static struct vblk_queue *set_queue(const struct vblk *vblk, unsigned index)
{
	if (index >= vblk->queues_count || !vblk->queues[index].is_set)
		return NULL;
	return (struct vblk_queue *)&vblk->queues[index];
}

static void free_slots(struct vblk_queue *queue)
{
	free(queue->requests);
	free(queue->buffers);
	free(queue->iovecs);
	queue->requests = NULL;
	queue->buffers = NULL;
	queue->iovecs = NULL;
}

static int make_slots(struct vblk_queue *queue, uint32_t size)
{
	uint32_t i;

	queue->requests = calloc(size, sizeof(*queue->requests));
	queue->buffers = calloc(size, VBLK_SEGMENTS_MAX * sizeof(*queue->buffers));
	queue->iovecs = calloc(size, VBLK_IOVECS_MAX * sizeof(*queue->iovecs));
	if (queue->requests == NULL || queue->buffers == NULL || queue->iovecs == NULL) {
		free_slots(queue);
		return -ENOMEM;
	}
	for (i = 0; i < size; i++) {
		queue->requests[i].queue = queue;
		queue->requests[i].buffers = queue->buffers + (size_t)i * VBLK_SEGMENTS_MAX;
		queue->requests[i].iovecs = queue->iovecs + (size_t)i * VBLK_IOVECS_MAX;
	}
	return 0;
}

int vblk_queue_set(struct vblk *vblk, unsigned index, const struct virtq_ring *ring)
{
	char name[GM_VIEW_NAME_MAX];
	struct vblk_queue *queue;
	int r;

	if (index >= vblk->queues_count || ring == NULL || ring->size > vblk->queue_size_max || !vblk->features_set)
		return -EINVAL;
	queue = &vblk->queues[index];
	if (queue->is_set)
		return -EBUSY;
	(void)snprintf(name, sizeof(name), "%s/queue%u", vblk->name, index);
	r = virtq_init(&queue->virtq, &queue->view, ring, vblk->features & VBLK_F_INDIRECT_DESC,
		       vblk->features & VBLK_F_EVENT_IDX);
	if (r < 0)
		return r;
	r = make_slots(queue, ring->size);
	if (r == 0)
		r = gm_view_init(&queue->view, vblk->memory, name, 0);
	if (r < 0) {
		free_slots(queue);
		virtq_fini(&queue->virtq);
		return r;
	}
	queue->finished = NULL;
	queue->finished_tail = &queue->finished;
	queue->told_broken = false;
	queue->is_set = true;
	return 0;
}

int vblk_queue_unset(struct vblk *vblk, unsigned index, uint16_t *ret_next)
{
	struct vblk_queue *queue;
	uint16_t next;
	int r;

	if (index >= vblk->queues_count)
		return -EINVAL;
	queue = set_queue(vblk, index);
	if (queue == NULL)
		return 0;
	if (queue->in_flight > 0 || queue->is_running)
		return -EBUSY;
	r = gm_view_fini(&queue->view);
	if (r < 0)
		return r;
	next = virtq_next(&queue->virtq);
	free_slots(queue);
	virtq_fini(&queue->virtq);
	queue->is_set = false;
	if (ret_next != NULL)
		*ret_next = next;
	return 0;
}

enum virtq_fault vblk_queue_fault(const struct vblk *vblk, unsigned index, int *ret_code)
{
	const struct vblk_queue *queue = set_queue(vblk, index);

	if (queue == NULL || queue->virtq.fault == VIRTQ_GOOD)
		return VIRTQ_GOOD;
	if (ret_code != NULL)
		*ret_code = queue->virtq.fault_code;
	return queue->virtq.fault;
}

unsigned vblk_queue_in_flight(const struct vblk *vblk, unsigned index)
{
	return index < vblk->queues_count ? vblk->queues[index].in_flight : 0;
}

void vblk_queue_stats(const struct vblk *vblk, unsigned index, struct vblk_stats *ret_stats)
{
	const uint64_t *from;
	uint64_t *to = (uint64_t *)ret_stats;
	size_t i;

	memset(ret_stats, 0, sizeof(*ret_stats));
	if (index >= vblk->queues_count)
		return;
	from = (const uint64_t *)&vblk->queues[index].stats;
	for (i = 0; i < sizeof(*ret_stats) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void vblk_queue_error(struct vblk *vblk, unsigned index, struct vblk_error *ret_error)
{
	struct vblk_queue *queue;

	memset(ret_error, 0, sizeof(*ret_error));
	if (index >= vblk->queues_count)
		return;
	queue = &vblk->queues[index];
	pthread_mutex_lock(&queue->error_lock);
	*ret_error = queue->error;
	pthread_mutex_unlock(&queue->error_lock);
}

/*
 * The loop
 */

static void submit(struct vblk_request *request)
{
	const struct vblk_disk *disk = &request->queue->vblk->disk;

	request->in_transfer = true;
	disk->submit(disk->opaque, &request->io);
}

/* Go on with all requests whose transfers are over, those that end at once included. */
static void settle(struct vblk_queue *queue)
{
	struct vblk_request *request;
	bool is_more;

	while ((request = queue->finished) != NULL) {
		queue->finished = request->next;
		if (queue->finished == NULL)
			queue->finished_tail = &queue->finished;
		gm_view_enter(&queue->view);
		is_more = vblk_request_continue(request);
		gm_view_leave(&queue->view);
		if (is_more)
			submit(request);
	}
}

/* Tell the driver what it wants to know. Callbacks neither run nor unset a queue nor free the device. */
static void announce(struct vblk_queue *queue)
{
	struct vblk *vblk = queue->vblk;
	bool is_wanted;

	gm_view_enter(&queue->view);
	is_wanted = virtq_notify(&queue->virtq);
	gm_view_leave(&queue->view);
	if (is_wanted) {
		vblk_count(&queue->stats.interrupts, 1);
		if (vblk->interrupt != NULL)
			vblk->interrupt(vblk->opaque, queue->index);
	}
	if (queue->virtq.fault != VIRTQ_GOOD && !queue->told_broken) {
		queue->told_broken = true;
		if (vblk->broken != NULL)
			vblk->broken(vblk->opaque, queue->index);
	}
}

void vblk_io_done(struct vblk_io *io, int64_t result)
{
	struct vblk_request *request = (struct vblk_request *)((char *)io - offsetof(struct vblk_request, io));
	struct vblk_queue *queue = request->queue;

	/* Done twice, or never submitted: its memory may be somebody else's by now. */
	assert(request->in_transfer);
	request->in_transfer = false;
	request->result = result;
	request->next = NULL;
	*queue->finished_tail = request;
	queue->finished_tail = &request->next;
	if (queue->is_running)
		return;
	queue->is_running = true;
	settle(queue);
	queue->is_running = false;
	announce(queue);
}

/* Take one chain and get it going. Return: 1; 0 when there is none; -EBADMSG. */
static int take(struct vblk_queue *queue)
{
	struct vblk_request *request = NULL;
	struct virtq_chain chain;
	bool is_more = false;
	int r;

	gm_view_enter(&queue->view);
	r = virtq_pop(&queue->virtq, &chain);
	if (r > 0) {
		request = &queue->requests[chain.head];
		if (request->busy)
			r = virtq_refuse(&queue->virtq, VIRTQ_HEAD_IN_FLIGHT, -EINVAL);
		else
			is_more = vblk_request_start(request, &chain);
	}
	gm_view_leave(&queue->view);
	if (is_more) {
		submit(request);
		settle(queue);
	}
	return r;
}

static int listen_again(struct vblk_queue *queue)
{
	int r;

	gm_view_enter(&queue->view);
	r = virtq_listen(&queue->virtq);
	gm_view_leave(&queue->view);
	return r;
}

int vblk_queue_run(struct vblk *vblk, unsigned index)
{
	struct vblk_queue *queue = set_queue(vblk, index);
	unsigned taken = 0;
	int r = 0;

	if (queue == NULL || queue->is_running)
		return -EINVAL;
	queue->is_running = true;
	gm_view_enter(&queue->view);
	virtq_quiet(&queue->virtq);
	gm_view_leave(&queue->view);
	do {
		while (taken < queue->virtq.size && (r = take(queue)) > 0)
			taken++;
		if (r == 0)
			r = listen_again(queue);
	} while (r > 0 && taken < queue->virtq.size);
	queue->is_running = false;
	announce(queue);
	return queue->virtq.fault != VIRTQ_GOOD ? -EBADMSG : (int)taken;
}
