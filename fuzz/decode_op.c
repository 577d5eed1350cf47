/*
 * decode_op.c - bytes to one event of a program, and back.
 *
 * The decoder keeps what an allocator's user would know: which ids are live, in which cache, and which caches are open.
 * So most frees hit something, no live id is allocated again and nothing is taken from a closed cache, whatever the
 * bytes.
 */
#include <string.h>

#include "fuzz/decode.h"

_Static_assert(PROGRAM_OBJECTS == 64, "the live ids are the bits of a word");

enum { PLACES = 64 }; /* where `recorded` may be told to put an object */

/* The first id of a set from `id` on, round and round; -1: it is empty. */
static int next_of(uint64_t set, unsigned id)
{
	if (set == 0)
		return -1;
	uint64_t turned = set >> id | (id ? set << (PROGRAM_OBJECTS - id) : 0);
	return (int)((id + (unsigned)__builtin_ctzll(turned)) % PROGRAM_OBJECTS);
}

void decode_start(struct decoder *decoder, struct program *program, const struct stack_plan *plan, const uint8_t *setup)
{
	decoder->program = program;
	decoder->plan = plan;
	decoder->live = decoder->dead = 0;
	decoder->last.op = KMT_OP_COUNT;
	decoder->births = 0;
	decoder->is_exhausted = false;
	decoder->has_areas = decode_has_areas(setup[PROGRAM_BYTE_CHECK]);
	decoder->time_ns = 0;
	decoder->place_bytes = program->setup.arena_bytes / PLACES / 8 * 8;
	decoder->open = 0;
	for (unsigned i = 0; i < PROGRAM_CACHES; i++)
		decoder->open |= (uint8_t)(!(setup[PROGRAM_BYTE_CACHES + 2 * i + 1] >> 7) << i);
}

/* Most want no alignment of their own; few more than the arena has. */
static uint8_t alignment_of(const struct program_setup *setup, uint8_t cpu_byte)
{
	static const uint8_t log2[16] = {0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 6, 7, 9, 12, 13};
	uint8_t wanted = log2[cpu_byte >> 4];
	return 1ull << wanted < setup->arena_bytes || wanted == 13 ? wanted : 4;
}

/* Flag byte: cache 0-3 or none, zeroed, atomic, and one of eight. */
enum { FLAGS_NO_CACHE = 4, FLAGS_ZEROED = 8, FLAGS_ATOMIC = 16 };

static uint16_t common_flags(uint8_t byte)
{
	return (uint16_t)((byte & FLAGS_ZEROED ? KML_ZEROED : 0) | (byte & FLAGS_ATOMIC ? KML_ATOMIC : 0));
}

/* Large blocks are zeroed where the object's byte has both bits that name no id; `recorded` has them for its places. */
enum { LARGE_BYTES = 2 * DECODE_PAGE_BYTES, OBJECT_ZEROED = 3 << 6 };

static bool may_be_zeroed(const struct stack_plan *plan, const struct kmt_event *event, const uint8_t *op)
{
	return event->size_bytes <= LARGE_BYTES || plan->is_recorded ||
	       (op[PROGRAM_BYTE_OBJECT] & OBJECT_ZEROED) == OBJECT_ZEROED;
}

static uint16_t page_flags(uint8_t byte)
{
	static const uint16_t kinds[8] = {0,           KML_MOVABLE,    KML_RECLAIMABLE, KML_MOVABLE,
					  KML_MOVABLE, KML_CONTIGUOUS, KML_DMA,         KML_ACCOUNTED};
	return common_flags(byte) | kinds[byte >> 5];
}

static uint16_t size_flags(uint8_t byte, bool has_areas)
{
	static const uint16_t kinds[8] = {KML_KMALLOC,
					  KML_KMALLOC,
					  KML_KMALLOC | KML_RECLAIMABLE,
					  KML_KMALLOC | KML_ACCOUNTED,
					  0,
					  KML_KMALLOC | KML_CONTIGUOUS,
					  KML_KMALLOC | KML_DMA,
					  KML_MOVABLE};
	if (has_areas && byte >> 5 == 7 && (byte & FLAGS_ATOMIC))
		return (uint16_t)(KML_VMALLOC | (byte & FLAGS_ZEROED ? KML_ZEROED : 0));
	return common_flags(byte) | kinds[byte >> 5];
}

static uint16_t cache_flags(uint8_t byte, const struct kmt_cache *cache)
{
	uint16_t flags = common_flags(byte) | (byte >> 5 == 4 ? KML_ACCOUNTED : 0);
	return flags | (cache->flags & KMT_CACHE_KMALLOC ? KML_KMALLOC : 0);
}

static struct kmt_event event_of(const struct decoder *decoder, enum kmt_op op, const uint8_t *bytes)
{
	return (struct kmt_event){
		.time_ns = decoder->time_ns,
		.address = KMT_NO_ADDRESS,
		.cache = KMT_NO_CACHE,
		.cpu = (uint16_t)((bytes[PROGRAM_BYTE_CPU] & 15) % decoder->program->setup.cpu_count),
		.op = (uint8_t)op,
	};
}

static void emit(struct decoder *decoder, const struct kmt_event *event)
{
	decoder->program->events[decoder->program->event_count++] = *event;
}

static void emit_alloc(struct decoder *decoder, struct kmt_event *event, unsigned id)
{
	event->object = (uint32_t)id;
	decoder->live |= 1ull << id;
	decoder->dead &= ~(1ull << id);
	decoder->object[id] = (struct decoded_alloc){event->cache, event->op, event->order};
	decoder->birth[id] = decoder->births++;
	/* What never fits is not asked for again. */
	if (event->size_bytes <= decoder->program->setup.arena_bytes)
		decoder->last = *event;
	emit(decoder, event);
}

static void emit_free(struct decoder *decoder, unsigned id, const uint8_t *bytes)
{
	const struct decoded_alloc *alloc = &decoder->object[id];
	bool is_page = alloc->op == KMT_PAGE_ALLOC;
	struct kmt_event event = event_of(decoder, is_page ? KMT_PAGE_FREE : KMT_FREE, bytes);
	event.object = (uint32_t)id;
	event.order = alloc->order;
	event.cache = bytes[PROGRAM_BYTE_FLAGS] & 1 ? KMT_NO_CACHE : alloc->cache;
	decoder->live &= ~(1ull << id);
	decoder->dead |= 1ull << id;
	emit(decoder, &event);
}

/* Where `recorded` is told to put it: one of PLACES, or nowhere. */
static uint64_t place_of(const struct decoder *decoder, const uint8_t *bytes)
{
	unsigned place = bytes[PROGRAM_BYTE_CPU] >> 4 << 2 | bytes[PROGRAM_BYTE_OBJECT] >> 6;
	return place >= PLACES - 4 ? KMT_NO_ADDRESS : place * decoder->place_bytes;
}

/* By its size: no cache, or one that may be closed. */
static void fill_sized(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes)
{
	event->size_bytes = decode_size(decoder, decode_code(bytes));
	event->flags = size_flags(bytes[PROGRAM_BYTE_FLAGS], decoder->has_areas);
	if (decoder->plan->is_recorded)
		event->address = place_of(decoder, bytes);
	else
		event->align_log2 = alignment_of(&decoder->program->setup, bytes[PROGRAM_BYTE_CPU]);
}

static void fill_object(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes)
{
	const struct program_setup *setup = &decoder->program->setup;
	unsigned code = decode_code(bytes), index = bytes[PROGRAM_BYTE_FLAGS] & (PROGRAM_CACHES - 1);
	bool wants_cache = setup->cache_count && !(bytes[PROGRAM_BYTE_FLAGS] & FLAGS_NO_CACHE);
	if (!wants_cache || !(decoder->open >> index & 1)) {
		fill_sized(decoder, event, bytes);
		return;
	}
	const struct kmt_cache *cache = &setup->caches[index];
	event->cache = (uint16_t)index;
	event->flags = cache_flags(bytes[PROGRAM_BYTE_FLAGS], cache);
	event->size_bytes = cache->flags & KMT_CACHE_KMALLOC ? 1 + code % cache->object_bytes : cache->object_bytes;
	if (decoder->plan->is_recorded)
		event->address = place_of(decoder, bytes);
}

static void fill_pages(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes)
{
	event->op = KMT_PAGE_ALLOC;
	event->order = (uint8_t)decode_order(decoder, decode_code(bytes));
	event->flags = page_flags(bytes[PROGRAM_BYTE_FLAGS]);
	if (decoder->plan->is_recorded)
		event->address = place_of(decoder, bytes);
	event->size_bytes = (uint64_t)DECODE_PAGE_BYTES << event->order;
}

/* The like of the last one, if that can still be had. */
static bool fill_again(const struct decoder *decoder, struct kmt_event *event)
{
	const struct kmt_event *last = &decoder->last;
	if (last->op == KMT_OP_COUNT || (last->cache != KMT_NO_CACHE && !(decoder->open >> last->cache & 1)))
		return false;
	uint64_t address = event->address, time_ns = event->time_ns;
	uint16_t cpu = event->cpu;
	*event = *last;
	event->address = address;
	event->time_ns = time_ns;
	event->cpu = cpu;
	return true;
}

static void decode_alloc(struct decoder *decoder, enum program_kind kind, const uint8_t *bytes)
{
	int id = next_of(~decoder->live, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (id < 0) {
		emit_free(decoder, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS, bytes);
		return;
	}
	struct kmt_event event = event_of(decoder, KMT_ALLOC, bytes);
	if (decoder->plan->is_recorded)
		event.address = place_of(decoder, bytes);
	/* An arena may be smaller than a page. */
	if (kind == PROGRAM_PAGES && decoder->program->setup.arena_bytes >= DECODE_PAGE_BYTES)
		fill_pages(decoder, &event, bytes);
	else if (kind != PROGRAM_ALLOC_AGAIN || !fill_again(decoder, &event))
		fill_object(decoder, &event, bytes);
	if (!may_be_zeroed(decoder->plan, &event, bytes))
		event.flags &= (uint16_t)~KML_ZEROED;
	emit_alloc(decoder, &event, (unsigned)id);
}

static void decode_free(struct decoder *decoder, const uint8_t *bytes)
{
	int id = next_of(decoder->live, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (id >= 0)
		emit_free(decoder, (unsigned)id, bytes);
}

static void decode_free_oldest(struct decoder *decoder, const uint8_t *bytes)
{
	int oldest = -1;
	for (uint64_t left = decoder->live; left; left &= left - 1) {
		int id = __builtin_ctzll(left);
		if (oldest < 0 || decoder->birth[id] < decoder->birth[oldest])
			oldest = id;
	}
	if (oldest >= 0)
		emit_free(decoder, (unsigned)oldest, bytes);
}

static void decode_misuse(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_MISUSE, bytes);
	unsigned code = decode_code(bytes);
	event.order = bytes[PROGRAM_BYTE_FLAGS] % KMT_MISUSE_KINDS;
	int id = next_of(event.order == KMT_MISUSE_DOUBLE ? decoder->dead : decoder->live,
			 bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (event.order == KMT_MISUSE_FOREIGN)
		id = bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS;
	if (id < 0)
		return;
	event.object = (uint32_t)id;
	if (event.order != KMT_MISUSE_DOUBLE && event.order != KMT_MISUSE_CACHE)
		event.size_bytes = decode_offset(code);
	if (event.order == KMT_MISUSE_CACHE) {
		if (decoder->program->setup.cache_count == 0 || decoder->object[id].op != KMT_ALLOC)
			return;
		event.cache = (uint16_t)(code % PROGRAM_CACHES);
		if (event.cache == decoder->object[id].cache)
			event.cache = (event.cache + 1) % PROGRAM_CACHES;
	}
	emit(decoder, &event);
}

static void decode_shrink(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_SHRINK, bytes);
	uint8_t flags = bytes[PROGRAM_BYTE_FLAGS];
	event.cpu = 0;
	if (decoder->program->setup.cache_count && !(flags & FLAGS_NO_CACHE))
		event.cache = flags & (PROGRAM_CACHES - 1);
	emit(decoder, &event);
}

/* An open cache closes, a closed one opens. It may have stayed open for its objects: then nothing comes of it. */
static void decode_cache_event(struct decoder *decoder, const uint8_t *bytes)
{
	unsigned index = bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_CACHES;
	if (decoder->program->setup.cache_count == 0)
		return;
	bool is_open = decoder->open >> index & 1;
	struct kmt_event event = event_of(decoder, is_open ? KMT_CACHE_CLOSE : KMT_CACHE_OPEN, bytes);
	event.cpu = 0;
	event.cache = (uint16_t)index;
	decoder->open ^= (uint8_t)(1u << index);
	emit(decoder, &event);
}

static void decode_exhaust(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_EXHAUST, bytes);
	/* Most of what happens needs memory: seldom on, soon off. */
	if (!decoder->is_exhausted && bytes[PROGRAM_BYTE_FLAGS] >> 5 != 0)
		return;
	decoder->is_exhausted = !decoder->is_exhausted;
	event.order = decoder->is_exhausted;
	if (event.order)
		event.flags = bytes[PROGRAM_BYTE_FLAGS] & FLAGS_ATOMIC ? KML_ATOMIC : 0;
	else
		event.cpu = 0;
	emit(decoder, &event);
}

/* A millisecond to 16 seconds: the longest timer of an allocator's own fires every 15. */
static void decode_wait(struct decoder *decoder, const uint8_t *bytes)
{
	decoder->time_ns += 1000000ull << decode_code(bytes) % 15;
	struct kmt_event event = event_of(decoder, KMT_MARK, bytes);
	event.cpu = 0;
	emit(decoder, &event);
}

void decode_op(struct decoder *decoder, const uint8_t *bytes)
{
	enum program_kind kind = (enum program_kind)(bytes[PROGRAM_BYTE_KIND] * PROGRAM_KINDS / 256);
	switch (kind) {
	case PROGRAM_ALLOC:
	case PROGRAM_PAGES:
	case PROGRAM_ALLOC_AGAIN:
		decode_alloc(decoder, kind, bytes);
		return;
	case PROGRAM_FREE:
		decode_free(decoder, bytes);
		return;
	case PROGRAM_FREE_OLDEST:
		decode_free_oldest(decoder, bytes);
		return;
	case PROGRAM_MISUSE:
		decode_misuse(decoder, bytes);
		return;
	case PROGRAM_SHRINK:
		decode_shrink(decoder, bytes);
		return;
	case PROGRAM_DRAIN: {
		struct kmt_event event = event_of(decoder, KMT_DRAIN, bytes);
		emit(decoder, &event);
		return;
	}
	case PROGRAM_CACHE:
		decode_cache_event(decoder, bytes);
		return;
	case PROGRAM_EXHAUST:
		decode_exhaust(decoder, bytes);
		return;
	default:
		decode_wait(decoder, bytes);
	}
}

/* ------------------------------------------------------------------------------------------------ encoding */

/* CPU and object bytes of an alloc: with its alignment, or the place it was recorded at. */
static bool encode_place(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	if (!decoder->plan->is_recorded) {
		for (unsigned high = 0; high < 16; high++) {
			op[PROGRAM_BYTE_CPU] = (uint8_t)(event->cpu | high << 4);
			if (alignment_of(&decoder->program->setup, op[PROGRAM_BYTE_CPU]) == event->align_log2)
				return true;
		}
		return false;
	}
	for (unsigned place = 0; place < PLACES; place++) {
		op[PROGRAM_BYTE_CPU] = (uint8_t)(event->cpu | place >> 2 << 4);
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)(event->object | (place & 3) << 6);
		if (place_of(decoder, op) == event->address)
			return true;
	}
	return false;
}

/* By trial: there are 256 flag bytes, and the decoder knows what they mean. */
static bool encode_flags(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	const struct program_setup *setup = &decoder->program->setup;
	for (unsigned flags = 0; flags < 256; flags++) {
		bool is_cached = setup->cache_count && !(flags & FLAGS_NO_CACHE);
		uint16_t cache = is_cached ? flags & (PROGRAM_CACHES - 1) : KMT_NO_CACHE;
		uint16_t meant = event->op == KMT_PAGE_ALLOC ? page_flags((uint8_t)flags)
				 : is_cached                 ? cache_flags((uint8_t)flags, &setup->caches[cache])
							     : size_flags((uint8_t)flags, decoder->has_areas);
		op[PROGRAM_BYTE_FLAGS] = (uint8_t)flags;
		if (meant == event->flags && (event->op == KMT_PAGE_ALLOC || cache == event->cache))
			return true;
	}
	return false;
}

static bool encode_alloc(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	if (event->size_bytes > LARGE_BYTES && (event->flags & KML_ZEROED) && !decoder->plan->is_recorded)
		op[PROGRAM_BYTE_OBJECT] |= OBJECT_ZEROED;
	if (event->object >= PROGRAM_OBJECTS || !encode_place(decoder, event, op) || !encode_flags(decoder, event, op))
		return false;
	if (event->op == KMT_PAGE_ALLOC)
		return encode_order(decoder, event->order, op);
	if (event->cache == KMT_NO_CACHE)
		return encode_size(decoder, event->size_bytes, op);
	encode_code((unsigned)(event->size_bytes - 1) & UINT16_MAX, op);
	return true;
}

static bool encode_misuse(const struct kmt_event *event, uint8_t *op)
{
	op[PROGRAM_BYTE_FLAGS] = event->order;
	if (event->order != KMT_MISUSE_CACHE)
		return encode_offset(event->size_bytes, op);
	encode_code(event->cache, op);
	return true;
}

bool encode_op(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	static const uint8_t kinds[KMT_OP_COUNT] = {
		[KMT_ALLOC] = PROGRAM_ALLOC,     [KMT_FREE] = PROGRAM_FREE,        [KMT_PAGE_ALLOC] = PROGRAM_PAGES,
		[KMT_PAGE_FREE] = PROGRAM_FREE,  [KMT_CACHE_OPEN] = PROGRAM_CACHE, [KMT_CACHE_CLOSE] = PROGRAM_CACHE,
		[KMT_SHRINK] = PROGRAM_SHRINK,   [KMT_DRAIN] = PROGRAM_DRAIN,      [KMT_MISUSE] = PROGRAM_MISUSE,
		[KMT_EXHAUST] = PROGRAM_EXHAUST, [KMT_MARK] = PROGRAM_WAIT,
	};
	unsigned waits = 0;
	memset(op, 0, PROGRAM_OP_BYTES);
	op[PROGRAM_BYTE_KIND] = (uint8_t)((kinds[event->op] * 256 + PROGRAM_KINDS - 1) / PROGRAM_KINDS);
	op[PROGRAM_BYTE_OBJECT] = (uint8_t)event->object;
	op[PROGRAM_BYTE_CPU] = (uint8_t)event->cpu;
	switch ((enum kmt_op)event->op) {
	case KMT_ALLOC:
	case KMT_PAGE_ALLOC:
		return encode_alloc(decoder, event, op);
	case KMT_MISUSE:
		return encode_misuse(event, op);
	case KMT_FREE:
		op[PROGRAM_BYTE_FLAGS] = event->cache == KMT_NO_CACHE;
		return true;
	case KMT_SHRINK:
		op[PROGRAM_BYTE_FLAGS] = event->cache == KMT_NO_CACHE ? FLAGS_NO_CACHE : (uint8_t)event->cache;
		return true;
	case KMT_CACHE_OPEN:
	case KMT_CACHE_CLOSE:
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)event->cache;
		return true;
	case KMT_EXHAUST:
		op[PROGRAM_BYTE_FLAGS] = event->flags & KML_ATOMIC ? FLAGS_ATOMIC : 0;
		return true;
	case KMT_MARK:
		while (waits < 16 && decoder->time_ns + (1000000ull << waits) < event->time_ns)
			waits++;
		encode_code(waits, op);
		return true;
	default:
		return true;
	}
}
