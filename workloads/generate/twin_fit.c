/*
 * twin_fit.c - from a trace the model of its twin.
 *
 * First every allocation becomes a life: when it began and ended, on which cpus, how large. Then lives are sorted by
 * kind, and each kind is fitted alone.
 */
#include "workloads/generate/twin_fit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/hashmap.h"
#include "workloads/scan.h"
#include "workloads/seeds.h"

#define NO_LIFE UINT32_MAX
#define NEVER UINT64_MAX

enum { SIZE_CLASSES = 48, SIZES_SEEN_MAX = 4096, LONG_SHARE = 256 /* of the duration is a long life */, SPANS = 8 };
static const double NAMED_SHARE = 0.99;
/* Flags of an allocation that make it another kind; of the others the kind has what most of its allocations have. */
static const uint16_t PAGE_KIND_FLAGS = KML_MOVABLE | KML_RECLAIMABLE | KML_DMA;
static const uint16_t OBJECT_KIND_FLAGS = KMT_LARGE | KMT_VMALLOC | KML_DMA;
static const uint16_t ANY_FLAGS = 0xff | KMT_LARGE | KMT_ACCOUNTED | KMT_VMALLOC;

struct life {
	uint64_t birth_ns, death_ns; /* NEVER: alive at the end */
	uint64_t size_bytes;
	uint32_t death_rank; /* among all deaths of the trace */
	uint32_t kind;
	uint16_t cache, flags, cpu, death_cpu;
	uint8_t order;
	bool is_warm, is_pages;
};

struct fit {
	struct kmt_reader *reader;
	struct twin_model *model;
	struct kml_error *error;
	const struct kmt_cache *caches; /* of the trace */
	uint32_t cache_count;
	uint64_t *slabs_at_start; /* by cache */

	struct life *lives;
	uint32_t life_count, life_room;
	uint32_t *life_of; /* by object id; NO_LIFE: none */
	uint32_t deaths;
	uint64_t *live_bytes, *peak_bytes; /* by cache */

	int32_t *cache_of; /* the model's, by the trace's */
	uint32_t *by_kind; /* lives in the order of kinds; in a kind, of birth */
	uint32_t *first;   /* of a kind, in by_kind */
};

static bool out_of_memory(const struct fit *fit)
{
	return kml_fail(fit->error, "%s: no memory to fit it: cut the trace, or use a larger machine",
			kmt_reader_path(fit->reader));
}

/* ------------------------------------------------------------------------------------------------ lives */

static bool add_life(struct fit *fit, const struct kmt_event *event)
{
	if (fit->life_count == fit->life_room) {
		uint32_t room = fit->life_room ? 2 * fit->life_room : 1 << 16;
		struct life *larger = room > fit->life_room ? realloc(fit->lives, room * sizeof *larger) : NULL;
		if (!larger)
			return out_of_memory(fit);
		fit->lives = larger;
		fit->life_room = room;
	}
	bool is_warm = event->flags & KMT_WARM;
	fit->lives[fit->life_count] = (struct life){.birth_ns = is_warm ? 0 : event->time_ns,
						    .death_ns = NEVER,
						    .size_bytes = event->size_bytes,
						    .cache = event->cache,
						    .flags = event->flags & ANY_FLAGS,
						    .cpu = event->cpu,
						    .order = event->order,
						    .is_warm = is_warm,
						    .is_pages = event->op == KMT_PAGE_ALLOC};
	fit->life_of[event->object] = fit->life_count++;
	if (event->cache == KMT_NO_CACHE)
		return true;
	uint64_t *live = &fit->live_bytes[event->cache], *peak = &fit->peak_bytes[event->cache];
	*live += fit->caches[event->cache].object_bytes;
	*peak = *live > *peak ? *live : *peak;
	return true;
}

static void end_life(struct fit *fit, const struct kmt_event *event)
{
	uint32_t index = fit->life_of[event->object];
	if (index == NO_LIFE)
		return;
	struct life *life = &fit->lives[index];
	life->death_ns = event->time_ns;
	life->death_cpu = event->cpu;
	life->death_rank = fit->deaths++;
	fit->life_of[event->object] = NO_LIFE;
	if (life->cache != KMT_NO_CACHE)
		fit->live_bytes[life->cache] -= fit->caches[life->cache].object_bytes;
}

/* What slabinfo counts as live at the start and the addresses show to have been free: no replay feeds it. */
static bool is_surplus(uint64_t *surplus, const struct kmt_event *event)
{
	if (!(event->flags & KMT_WARM) || event->op != KMT_ALLOC || event->address != KMT_NO_ADDRESS ||
	    event->cache == KMT_NO_CACHE || surplus[event->cache] == 0)
		return false;
	surplus[event->cache]--;
	return true;
}

static bool take_event(struct fit *fit, uint64_t *surplus, const struct kmt_event *event)
{
	if (event->flags & KMT_SLAB_PAGE)
		return true;
	switch (event->op) {
	case KMT_ALLOC:
	case KMT_PAGE_ALLOC:
		fit->life_of[event->object] = NO_LIFE;
		return is_surplus(surplus, event) || add_life(fit, event);
	case KMT_FREE:
	case KMT_PAGE_FREE:
		end_life(fit, event);
		return true;
	default:
		return true;
	}
}

static bool take_stream(struct fit *fit, uint64_t *surplus)
{
	struct kmt_item item;
	if (!kmt_rewind(fit->reader, fit->error))
		return false;
	for (;;) {
		switch (kmt_next(fit->reader, &item, fit->error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count; i++)
				if (!take_event(fit, surplus, &item.events[i]))
					return false;
			break;
		case KMT_ITEM_SNAPSHOT:
			break;
		case KMT_ITEM_END:
			return fit->life_count > 0 || kml_fail(fit->error, "%s: no allocation in it: nothing to fit",
							       kmt_reader_path(fit->reader));
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

static bool take_lives(struct fit *fit)
{
	struct replay_seeds seeds;
	uint64_t objects = kmt_reader_totals(fit->reader)->objects;
	fit->life_of = malloc((objects + 1) * sizeof *fit->life_of);
	fit->live_bytes = calloc(fit->cache_count + 1u, sizeof *fit->live_bytes);
	fit->peak_bytes = calloc(fit->cache_count + 1u, sizeof *fit->peak_bytes);
	if (!fit->life_of || !fit->live_bytes || !fit->peak_bytes)
		return out_of_memory(fit);
	memset(fit->life_of, 0xff, (objects + 1) * sizeof *fit->life_of);
	if (!replay_seeds_collect(fit->reader, &seeds, fit->error))
		return false;
	bool done = take_stream(fit, seeds.surplus);
	replay_seeds_free(&seeds);
	return done;
}

/* ------------------------------------------------------------------------------------------------ caches */

struct ranked {
	uint64_t bytes;
	uint32_t cache;
};

static int by_bytes(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->cache < y->cache ? -1 : 1;
}

static uint64_t slabs_of(const struct fit *fit, uint32_t cache)
{
	return fit->slabs_at_start ? fit->slabs_at_start[cache] : fit->caches[cache].slabs_at_start;
}

/* What a cache weighs: its slabs at the start or its most live bytes. */
static uint64_t weight_of(const struct fit *fit, uint32_t cache)
{
	uint64_t slab_bytes = slabs_of(fit, cache) * fit->caches[cache].pages_per_slab * fit->model->page_bytes;
	return slab_bytes > fit->peak_bytes[cache] ? slab_bytes : fit->peak_bytes[cache];
}

static bool name_cache(struct fit *fit, uint32_t cache)
{
	struct kmt_cache *own = &fit->model->caches[fit->model->cache_count];
	*own = fit->caches[cache];
	own->name = strdup(fit->caches[cache].name);
	if (!own->name)
		return out_of_memory(fit);
	own->slabs_at_start = slabs_of(fit, cache);
	fit->cache_of[cache] = (int32_t)fit->model->cache_count++;
	return true;
}

static uint32_t size_class(uint64_t bytes)
{
	uint32_t class = 0;
	while (1ull << class < bytes)
		class ++;
	return class;
}

/* One cache for small ones of nearly a size: the geometry of the heaviest, slabs of as many pages as all together. */
static bool pool_caches(struct fit *fit, const struct ranked *ranked, uint32_t count, uint32_t class)
{
	struct kmt_cache pool = {0};
	uint64_t pages = 0, objects = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct kmt_cache *cache = &fit->caches[ranked[i].cache];
		if (fit->cache_of[ranked[i].cache] >= 0 || size_class(cache->object_bytes) != class ||
		    ranked[i].bytes == 0)
			continue;
		if (pool.object_bytes == 0)
			pool = *cache;
		pages += slabs_of(fit, ranked[i].cache) * cache->pages_per_slab;
		objects += cache->objects_at_start;
		fit->cache_of[ranked[i].cache] = (int32_t)fit->model->cache_count;
	}
	if (pool.object_bytes == 0)
		return true;
	char name[32];
	snprintf(name, sizeof name, "pool-%" PRIu64, (uint64_t)1 << class);
	pool.name = strdup(name);
	pool.slabs_at_start = pool.pages_per_slab ? (pages + pool.pages_per_slab / 2) / pool.pages_per_slab : 0;
	uint64_t slots = pool.slabs_at_start * pool.objects_per_slab;
	pool.objects_at_start = objects < slots ? objects : slots;
	fit->model->caches[fit->model->cache_count++] = pool;
	return pool.name || out_of_memory(fit);
}

static bool choose_among(struct fit *fit, struct ranked *ranked)
{
	uint64_t sum = 0, named = 0;
	for (uint32_t i = 0; i < fit->cache_count; i++) {
		ranked[i] = (struct ranked){weight_of(fit, i), i};
		sum += ranked[i].bytes;
		fit->cache_of[i] = -1;
	}
	qsort(ranked, fit->cache_count, sizeof *ranked, by_bytes);
	for (uint32_t i = 0; i < fit->cache_count && ranked[i].bytes > 0; i++) {
		bool is_kmalloc = fit->caches[ranked[i].cache].flags & KMT_CACHE_KMALLOC;
		if ((is_kmalloc || (double)named < NAMED_SHARE * (double)sum) && !name_cache(fit, ranked[i].cache))
			return false;
		named += ranked[i].bytes;
	}
	for (uint32_t class = 0; class < SIZE_CLASSES; class ++)
		if (!pool_caches(fit, ranked, fit->cache_count, class))
			return false;
	return true;
}

static bool choose_caches(struct fit *fit)
{
	struct ranked *ranked = calloc(fit->cache_count + 1u, sizeof *ranked);
	fit->model->caches = calloc(fit->cache_count + SIZE_CLASSES, sizeof *fit->model->caches);
	fit->cache_of = calloc(fit->cache_count + 1u, sizeof *fit->cache_of);
	bool done = ranked && fit->model->caches && fit->cache_of ? choose_among(fit, ranked) : out_of_memory(fit);
	free(ranked);
	return done;
}

/* ------------------------------------------------------------------------------------------------ kinds */

/* What tells kinds apart, in 64 bits. Objects without a cache are told apart by size too. */
static uint64_t key_of(const struct fit *fit, const struct life *life)
{
	if (life->is_pages)
		return (uint64_t)1 << 63 | (uint64_t)life->order << 16 | (life->flags & PAGE_KIND_FLAGS);
	uint64_t flags = life->flags & OBJECT_KIND_FLAGS;
	if (life->cache == KMT_NO_CACHE)
		return (uint64_t)1 << 62 | (uint64_t)size_class(life->size_bytes) << 16 | flags;
	return (uint64_t)fit->cache_of[life->cache] << 16 | flags;
}

static bool sort_lives(struct fit *fit, struct kml_hashmap *kinds)
{
	struct twin_model *model = fit->model;
	for (uint32_t i = 0; i < fit->life_count; i++) {
		uint64_t key = key_of(fit, &fit->lives[i]);
		uint32_t kind = kml_hashmap_get(kinds, key);
		if (kind == KML_HASHMAP_NONE) {
			kind = model->kind_count++;
			if (kind == TWIN_KINDS_MAX)
				return kml_fail(fit->error, "%s: more than %d kinds of allocations: cut the trace",
						kmt_reader_path(fit->reader), TWIN_KINDS_MAX);
			if (!kml_hashmap_set(kinds, key, kind))
				return out_of_memory(fit);
		}
		fit->lives[i].kind = kind;
	}
	model->kinds = calloc(model->kind_count, sizeof *model->kinds);
	fit->first = calloc(model->kind_count + 1u, sizeof *fit->first);
	fit->by_kind = calloc(fit->life_count + 1u, sizeof *fit->by_kind);
	uint32_t *next = calloc(model->kind_count + 1u, sizeof *next);
	if (!model->kinds || !fit->first || !fit->by_kind || !next) {
		free(next);
		return out_of_memory(fit);
	}
	for (uint32_t i = 0; i < fit->life_count; i++)
		fit->first[fit->lives[i].kind + 1]++;
	for (uint32_t kind = 0; kind < model->kind_count; kind++)
		fit->first[kind + 1] += fit->first[kind];
	memcpy(next, fit->first, model->kind_count * sizeof *next);
	for (uint32_t i = 0; i < fit->life_count; i++)
		fit->by_kind[next[fit->lives[i].kind]++] = i;
	free(next);
	return true;
}

/* ------------------------------------------------------------------------------------------------ one kind */

/* The lives of a kind in the order of birth. */
struct group {
	const struct fit *fit;
	const uint32_t *index;
	uint32_t count;
};

static const struct life *life_at(const struct group *group, uint32_t i)
{
	return &group->fit->lives[group->index[i]];
}

static uint64_t lifetime_of(const struct life *life, uint64_t end_ns)
{
	uint64_t until = life->death_ns == NEVER ? end_ns : life->death_ns;
	return until > life->birth_ns ? until - life->birth_ns : 1;
}

static void fit_flags(const struct group *group, struct twin_kind *kind)
{
	for (int bit = 0; bit < 16; bit++) {
		uint32_t have = 0;
		for (uint32_t i = 0; i < group->count; i++)
			have += life_at(group, i)->flags >> bit & 1;
		if (2 * (uint64_t)have > group->count)
			kind->flags |= (uint16_t)(1u << bit);
	}
}

static void fit_cpus(const struct group *group, uint32_t cpu_count, struct twin_kind *kind)
{
	uint64_t of_cpu[TWIN_CPUS_MAX] = {0}, born = 0, freed = 0, crossed = 0;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct life *life = life_at(group, i);
		if (life->is_warm)
			continue;
		born++;
		of_cpu[life->cpu % cpu_count]++;
		freed += life->death_ns != NEVER;
		crossed += life->death_ns != NEVER && life->death_cpu != life->cpu;
	}
	kind->cross = freed ? (double)crossed / (double)freed : 0;
	for (uint32_t cpu = 0; cpu < cpu_count; cpu++)
		kind->cpu_share[cpu] = born ? (double)of_cpu[cpu] / (double)born : cpu == 0;
}

/* ------------------------------------------------------------------------------- lifetimes */

struct span {
	uint64_t ns;
	bool died;
};

static int by_length(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	return y->died - x->died; /* who died was at risk with those last seen then */
}

/* Kaplan & Meier: S falls by the share that dies of those still at risk; quantile p is where 1 - S comes to p. */
static void estimate_life(struct span *spans, uint32_t count, struct twin_life *life)
{
	double survival = 1;
	int next = 0;
	qsort(spans, count, sizeof *spans, by_length);
	for (uint32_t i = 0; i < count; i++) {
		if (!spans[i].died)
			continue;
		survival *= 1 - 1.0 / (count - i);
		while (next < TWIN_QUANTILES && 1 - survival + 1e-9 >= twin_shares[next])
			life->quantile_ns[next++] = (double)spans[i].ns;
	}
	life->is_known = next > 1; /* else fewer have died than one quantile */
	while (next < TWIN_QUANTILES)
		life->quantile_ns[next++] = (double)INFINITY;
}

static void fit_life(const struct group *group, bool is_warm, struct span *spans, struct twin_life *life)
{
	uint32_t count = 0;
	bool any_died = false;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct life *one = life_at(group, i);
		if (one->is_warm != is_warm)
			continue;
		spans[count++] =
			(struct span){lifetime_of(one, group->fit->model->duration_ns), one->death_ns != NEVER};
		any_died |= one->death_ns != NEVER;
	}
	if (any_died)
		estimate_life(spans, count, life);
}

/* ------------------------------------------------------------------------------- who dies together */

/* Neighbours in birth that both live when a span of time begins: how many pairs, in how many one dies, and who dies. */
struct fates {
	uint64_t pairs, split, lives, deaths;
};

static struct fates fates_in(const struct group *group, uint64_t from_ns, uint64_t to_ns)
{
	const struct twin_model *model = group->fit->model;
	struct fates fates = {0};
	bool before_lives = false, before_dies = false;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct life *life = life_at(group, i);
		if (lifetime_of(life, model->duration_ns) < model->long_ns)
			continue;
		bool lives = life->birth_ns <= from_ns && life->death_ns > from_ns;
		bool dies = lives && life->death_ns <= to_ns;
		fates.lives += lives;
		fates.deaths += dies;
		fates.pairs += lives && before_lives;
		fates.split += lives && before_lives && dies != before_dies;
		before_lives = lives;
		before_dies = dies;
	}
	return fates;
}

/*
 * How far neighbours in birth share their fate, beyond what chance does: Cohen's coefficient of agreement (Educational
 * and Psychological Measurement 20, 1960) of who dies in a span among those that live when it begins, over all spans.
 * A twin in which a share k of long lives ends with its neighbour's has the coefficient k.
 */
static double fit_together(const struct group *group)
{
	double split = 0, expected = 0;
	for (uint64_t span = 0; span < SPANS; span++) {
		uint64_t duration_ns = group->fit->model->duration_ns;
		struct fates fates = fates_in(group, duration_ns / SPANS * span, duration_ns / SPANS * (span + 1));
		double share = fates.lives ? (double)fates.deaths / (double)fates.lives : 0;
		split += (double)fates.split;
		expected += 2 * share * (1 - share) * (double)fates.pairs;
	}
	return expected > 0 && split < expected ? 1 - split / expected : 0;
}

/* ------------------------------------------------------------------------------- sizes */

static int by_size(const void *a, const void *b)
{
	const struct twin_size *x = a, *y = b;
	return x->size_bytes < y->size_bytes ? -1 : x->size_bytes > y->size_bytes;
}

static double weight_of_size(const struct twin_size *size)
{
	return (double)(size->weight[TWIN_WARM] + size->weight[TWIN_SHORT] + size->weight[TWIN_LONG]);
}

/* Ward's criterion: the bytes squared that one mean in place of two is off by. */
static double cost_of_joining(const struct twin_size *a, const struct twin_size *b)
{
	double x = weight_of_size(a), y = weight_of_size(b), gap = (double)(b->size_bytes - a->size_bytes);
	return x * y / (x + y) * gap * gap;
}

static void join_sizes(struct twin_size *sizes, uint32_t *count, uint32_t at)
{
	struct twin_size *a = &sizes[at], *b = &sizes[at + 1];
	double x = weight_of_size(a), y = weight_of_size(b);
	a->size_bytes = (uint64_t)llround(((double)a->size_bytes * x + (double)b->size_bytes * y) / (x + y));
	for (int stage = 0; stage < TWIN_STAGES; stage++)
		a->weight[stage] += b->weight[stage];
	memmove(b, b + 1, (*count - at - 2) * sizeof *b);
	--*count;
}

static void reduce_sizes(struct twin_size *sizes, uint32_t *count, uint32_t most)
{
	while (*count > most) {
		uint32_t best = 0;
		for (uint32_t i = 1; i + 1 < *count; i++)
			if (cost_of_joining(&sizes[i], &sizes[i + 1]) < cost_of_joining(&sizes[best], &sizes[best + 1]))
				best = i;
		join_sizes(sizes, count, best);
	}
}

static void count_size(struct twin_size *sizes, uint32_t *count, uint64_t size_bytes, enum twin_stage stage)
{
	const struct twin_size wanted = {.size_bytes = size_bytes};
	struct twin_size *found = bsearch(&wanted, sizes, *count, sizeof *sizes, by_size);
	if (!found) {
		if (*count == SIZES_SEEN_MAX)
			reduce_sizes(sizes, count, SIZES_SEEN_MAX / 2);
		uint32_t at = (*count)++;
		for (; at > 0 && sizes[at - 1].size_bytes > size_bytes; at--)
			sizes[at] = sizes[at - 1];
		found = &sizes[at];
		*found = wanted;
	}
	found->weight[stage]++;
}

/* Of objects that are pooled the size is the pool's. */
static void fit_sizes(const struct group *group, struct twin_size *sizes, struct twin_kind *kind)
{
	const struct twin_model *model = group->fit->model;
	uint64_t whole = kind->cache >= 0 ? model->caches[kind->cache].object_bytes : 0;
	uint32_t count = 0;
	if (kind->is_pages || (kind->cache >= 0 && strncmp(model->caches[kind->cache].name, "pool-", 5) == 0))
		return;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct life *life = life_at(group, i);
		bool is_long = lifetime_of(life, model->duration_ns) >= model->long_ns;
		uint64_t size_bytes = whole > 0 && life->size_bytes > whole ? whole : life->size_bytes;
		count_size(sizes, &count, size_bytes, life->is_warm ? TWIN_WARM : is_long ? TWIN_LONG : TWIN_SHORT);
	}
	if (count == 1 && sizes[0].size_bytes == whole)
		return;
	reduce_sizes(sizes, &count, TWIN_SIZES_MAX);
	memcpy(kind->sizes, sizes, count * sizeof *sizes);
	kind->size_count = count;
}

/* ------------------------------------------------------------------------------------------------ phases */

/* A change point that is given up: the bytes of live objects, on average over time, that the model is then farther off
 * for each byte that the file is shorter; the highest price of this one and those before it. */
struct removal {
	uint16_t at;
	uint16_t file_bytes;
	double price;
};

/* A kind by ticks, and what becomes of its change points. */
struct series {
	uint64_t born_before[TWIN_TICKS + 1], live[TWIN_TICKS + 1];
	double mean_bytes;                       /* of one object */
	struct removal removals[TWIN_TICKS - 1]; /* all of them, the cheapest first */
	uint64_t file_bytes;                     /* of all change points */
};

static uint32_t tick_of(uint64_t time_ns, uint64_t duration_ns)
{
	uint64_t tick = (uint64_t)((unsigned __int128)time_ns * TWIN_TICKS / duration_ns);
	return tick < TWIN_TICKS ? (uint32_t)tick : TWIN_TICKS - 1;
}

static void fill_series(const struct group *group, struct series *series)
{
	uint64_t died[TWIN_TICKS] = {0}, born[TWIN_TICKS] = {0}, duration_ns = group->fit->model->duration_ns;
	double bytes = 0;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct life *life = life_at(group, i);
		if (life->is_warm)
			series->live[0]++;
		else
			born[tick_of(life->birth_ns, duration_ns)]++;
		if (life->death_ns != NEVER)
			died[tick_of(life->death_ns, duration_ns)]++;
		bytes += (double)life->size_bytes;
	}
	for (uint32_t tick = 0; tick < TWIN_TICKS; tick++) {
		series->live[tick + 1] = series->live[tick] + born[tick] - died[tick];
		series->born_before[tick + 1] = series->born_before[tick] + born[tick];
	}
	series->mean_bytes = bytes / group->count;
}

/* What a straight line over [from, to] is off by, summed over its ticks. */
static double off_line(const struct series *series, uint32_t from, uint32_t to)
{
	double begin = (double)series->live[from], slope = ((double)series->live[to] - begin) / (to - from), sum = 0;
	for (uint32_t tick = from + 1; tick < to; tick++)
		sum += fabs((double)series->live[tick] - begin - slope * (tick - from));
	return sum;
}

static uint32_t digits(uint64_t number)
{
	uint32_t count = 1;
	for (; number >= 10; number /= 10)
		count++;
	return count;
}

static uint64_t born_between(const struct series *series, uint32_t from, uint32_t to)
{
	return series->born_before[to] - series->born_before[from];
}

/* What a change point takes in the file: its place, those live there, and the births told apart; and commas. */
static uint32_t bytes_of_point(const struct series *series, uint32_t from, uint32_t at, uint32_t to)
{
	return digits(at) + digits(series->live[at]) + digits(born_between(series, from, at)) +
	       digits(born_between(series, at, to)) - digits(born_between(series, from, to)) + 3;
}

/* Change points on the way, linked in time. */
struct points {
	uint16_t before[TWIN_TICKS + 1], after[TWIN_TICKS + 1];
	double off[TWIN_TICKS + 1];   /* of the phase that begins there */
	double price[TWIN_TICKS + 1]; /* of the point */
};

static void price_point(const struct series *series, struct points *points, uint32_t at)
{
	uint32_t from = points->before[at], to = points->after[at];
	if (at == 0 || at == TWIN_TICKS)
		return;
	double more = off_line(series, from, to) - points->off[from] - points->off[at];
	points->price[at] = more * series->mean_bytes / TWIN_TICKS / bytes_of_point(series, from, at, to);
}

static void remove_point(const struct series *series, struct points *points, uint32_t at)
{
	uint32_t from = points->before[at], to = points->after[at];
	points->after[from] = (uint16_t)to;
	points->before[to] = (uint16_t)from;
	points->off[from] = off_line(series, from, to);
	price_point(series, points, from);
	price_point(series, points, to);
}

static uint32_t cheapest_point(const struct points *points)
{
	uint32_t best = points->after[0];
	for (uint32_t at = best; at < TWIN_TICKS; at = points->after[at])
		if (points->price[at] < points->price[best])
			best = at;
	return best;
}

/* From a change point at every tick down to none. O(ticks squared), most of it for kinds that never rest. */
static void price_removals(struct series *series)
{
	struct points points = {0};
	for (uint32_t tick = 0; tick <= TWIN_TICKS; tick++) {
		points.before[tick] = (uint16_t)(tick ? tick - 1 : 0);
		points.after[tick] = (uint16_t)(tick + 1);
	}
	for (uint32_t tick = 1; tick < TWIN_TICKS; tick++)
		price_point(series, &points, tick);
	double highest = 0;
	series->file_bytes = 0;
	for (uint32_t i = 0; i < TWIN_TICKS - 1; i++) {
		uint32_t at = cheapest_point(&points);
		highest = points.price[at] > highest ? points.price[at] : highest;
		uint32_t bytes = bytes_of_point(series, points.before[at], at, points.after[at]);
		series->removals[i] = (struct removal){(uint16_t)at, (uint16_t)bytes, highest};
		series->file_bytes += bytes;
		remove_point(series, &points, at);
	}
}

/* The change points that cost no more than the price are given up: how many, and what the others take. */
static uint32_t removals_at(const struct series *series, double price, uint64_t *file_bytes)
{
	uint32_t count = 0;
	uint64_t left = series->file_bytes;
	for (; count < TWIN_TICKS - 1 && series->removals[count].price <= price; count++)
		left -= series->removals[count].file_bytes;
	*file_bytes += left + (left > 0 ? sizeof ",\"until\":[1024]" : 0);
	return count;
}

/* The lowest price, one for all kinds, at which the file is no longer than it may be. */
static double choose_price(const struct series *series, uint32_t count, uint64_t room)
{
	double low = 0, high = 1;
	for (uint32_t kind = 0; kind < count; kind++)
		if (series[kind].removals[TWIN_TICKS - 2].price > high)
			high = series[kind].removals[TWIN_TICKS - 2].price;
	for (int i = 0; i < 100; i++) {
		double price = (low + high) / 2;
		uint64_t bytes = 0;
		for (uint32_t kind = 0; kind < count; kind++)
			removals_at(&series[kind], price, &bytes);
		if (bytes > room)
			low = price;
		else
			high = price;
	}
	return high;
}

static bool keep_series(const struct fit *fit, const struct series *series, double price, struct twin_kind *kind)
{
	uint64_t ignored = 0;
	uint32_t removed = removals_at(series, price, &ignored);
	bool keeps[TWIN_TICKS + 1] = {false};
	free(kind->until);
	free(kind->born);
	free(kind->live);
	for (uint32_t i = removed; i < TWIN_TICKS - 1; i++)
		keeps[series->removals[i].at] = true;
	keeps[TWIN_TICKS] = true;
	kind->phases = TWIN_TICKS - removed;
	kind->until = calloc(kind->phases, sizeof *kind->until);
	kind->born = calloc(kind->phases, sizeof *kind->born);
	kind->live = calloc(kind->phases + 1u, sizeof *kind->live);
	if (!kind->until || !kind->born || !kind->live)
		return out_of_memory(fit);
	kind->live[0] = series->live[0];
	for (uint32_t tick = 1, from = 0, phase = 0; tick <= TWIN_TICKS; tick++) {
		if (!keeps[tick])
			continue;
		kind->until[phase] = (uint16_t)tick;
		kind->born[phase] = born_between(series, from, tick);
		kind->live[++phase] = series->live[tick];
		from = tick;
	}
	return true;
}

static bool measure_model(const struct fit *fit, uint64_t *bytes)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	bool done = stream && twin_model_write(fit->model, stream);
	if (stream)
		done = fclose(stream) == 0 && done;
	free(text);
	*bytes = size;
	return done || out_of_memory(fit);
}

static bool keep_all(const struct fit *fit, const struct series *series, double price)
{
	for (uint32_t i = 0; i < fit->model->kind_count; i++)
		if (!keep_series(fit, &series[i], price, &fit->model->kinds[i]))
			return false;
	return true;
}

/* First without any change point, to see what the rest takes. */
static bool fit_series(const struct fit *fit, struct series *series, uint64_t model_bytes)
{
	uint64_t bytes, room;
	for (uint32_t i = 0; i < fit->model->kind_count; i++)
		price_removals(&series[i]);
	if (!keep_all(fit, series, (double)INFINITY) || !measure_model(fit, &bytes))
		return false;
	room = model_bytes > bytes ? model_bytes - bytes : 0;
	return keep_all(fit, series, choose_price(series, fit->model->kind_count, room));
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* Room for the largest kind. */
struct workspace {
	struct span *spans;
	struct twin_size *sizes;
	struct series *series; /* by kind */
};

static void fit_kind(const struct group *group, const struct workspace *space, struct twin_kind *kind)
{
	const struct life *first = life_at(group, 0);
	kind->cache = first->is_pages || first->cache == KMT_NO_CACHE ? -1 : group->fit->cache_of[first->cache];
	kind->is_pages = first->is_pages;
	kind->order = first->is_pages ? first->order : 0;
	fit_flags(group, kind);
	fit_cpus(group, group->fit->model->cpu_count, kind);
	fit_life(group, false, space->spans, &kind->life);
	fit_life(group, true, space->spans, &kind->warm_life);
	kind->together = fit_together(group);
	fit_sizes(group, space->sizes, kind);
}

static bool fit_kinds(struct fit *fit, uint64_t model_bytes)
{
	struct twin_model *model = fit->model;
	const struct workspace space = {
		.spans = calloc(fit->life_count, sizeof *space.spans),
		.sizes = calloc(SIZES_SEEN_MAX + 1u, sizeof *space.sizes),
		.series = calloc(model->kind_count, sizeof *space.series),
	};
	bool done = space.spans && space.sizes && space.series;
	for (uint32_t i = 0; done && i < model->kind_count; i++) {
		const struct group group = {fit, fit->by_kind + fit->first[i], fit->first[i + 1] - fit->first[i]};
		fit_kind(&group, &space, &model->kinds[i]);
		fill_series(&group, &space.series[i]);
	}
	done = done ? fit_series(fit, space.series, model_bytes) : out_of_memory(fit);
	free(space.spans);
	free(space.sizes);
	free(space.series);
	return done;
}

static bool fit_trace(struct fit *fit, uint64_t model_bytes)
{
	struct replay_scan scan;
	struct kml_hashmap kinds = {0};
	if (!replay_scan(fit->reader, &scan, fit->error))
		return false;
	fit->slabs_at_start = scan.slabs_at_start;
	bool done = take_lives(fit) && choose_caches(fit) && sort_lives(fit, &kinds) && fit_kinds(fit, model_bytes);
	kml_hashmap_free(&kinds);
	replay_scan_free(&scan);
	return done;
}

bool twin_fit(struct kmt_reader *reader, uint64_t model_bytes, struct twin_model *model, struct kml_error *error)
{
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	struct fit fit = {.reader = reader, .model = model, .error = error};
	fit.caches = kmt_reader_caches(reader, &fit.cache_count);
	*model = (struct twin_model){.page_bytes = origin->page_bytes,
				     .cpu_count = origin->cpu_count,
				     .duration_ns = kmt_reader_totals(reader)->duration_ns};
	model->long_ns = model->duration_ns / LONG_SHARE;
	if (model->duration_ns == 0)
		return kml_fail(error, "%s: all of it at one instant: there is no rate to fit",
				kmt_reader_path(reader));
	if (model->cpu_count > TWIN_CPUS_MAX)
		return kml_fail(error, "%s: %u cpus: a model has at most %d", kmt_reader_path(reader), model->cpu_count,
				TWIN_CPUS_MAX);
	bool done = fit_trace(&fit, model_bytes);
	free(fit.lives);
	free(fit.life_of);
	free(fit.live_bytes);
	free(fit.peak_bytes);
	free(fit.cache_of);
	free(fit.by_kind);
	free(fit.first);
	return done;
}
