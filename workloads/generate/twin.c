/*
 * twin.c - the twin of a trace, from a model of a few kilobytes (twin_model.h; twin_fit.h makes one).
 *
 * Each kind is played by itself. At the beginning of each of its phases its births of that phase get their times,
 * uniform in the phase, as those of a Poisson process of which the number is known; each gets a lifetime, by the
 * quantiles, or ends with the long life born before it. Then the model says how many must be alive at the phase's end:
 * of those that live and those to be born as many die in the phase as that leaves, the ones due first. One that is not
 * due until later dies at a moment of the phase after its birth. So the counts at the ends of phases are the model's,
 * and lifetimes say who dies.
 *
 * Invariant: at the end of a phase as many of a kind live as the model says.
 * Cost: O(log live) for an event, and sorting the live of a kind once a phase; 32 bytes for each live object.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/twin_model.h"

struct twin_config {
	struct generate_common common;
	const char *model;
	double scale, stretch;
};

static const struct kml_param params[] = {
	{.name = "seed",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct generate_common, seed),
	 .default_text = "1",
	 .maximum = UINT64_MAX,
	 .help = "of the random numbers"},
	{.name = "cpus",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct generate_common, cpus),
	 .default_text = "0",
	 .maximum = TWIN_CPUS_MAX,
	 .help = "cpus that take part; 0: as many as the model's"},
	{.name = "model",
	 .type = KML_PARAM_TEXT,
	 .offset = offsetof(struct twin_config, model),
	 .default_text = "",
	 .help = "the file that 'kmemlab generate --fit TRACE.kmt' has written"},
	{.name = "scale",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct twin_config, scale),
	 .default_text = "1",
	 .maximum = 1000,
	 .help = "times as many objects, there at the start and born"},
	{.name = "stretch",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct twin_config, stretch),
	 .default_text = "1",
	 .maximum = 1000,
	 .help = "times as long: the times between events and the lifetimes"},
	{0},
};

/* One of a kind that lives or is to be born in this phase. */
struct member {
	double due_ns;     /* when its lifetime is over */
	uint64_t birth_ns; /* in this phase; before it: when the phase began */
	uint64_t death_ns; /* in this phase; 0: it lives on */
	generate_id id;
	uint16_t cpu;
	bool is_born, is_long;
};

struct player {
	const struct twin_kind *kind;
	struct member *members; /* those not yet born last, in the order of birth */
	uint64_t count, room;
	uint64_t next; /* to be born */
	uint32_t phase;
	uint64_t begin_ns, end_ns;
	double last_due_ns; /* of the last long life; 0: there was none */
};

struct twin {
	const struct twin_config *config;
	struct twin_model model;
	uint32_t *caches; /* of generate_ask, by the model's */
	uint64_t duration_ns;
	struct player *players;
	uint32_t *heap; /* players, the one whose next moment is first on top */
	uint32_t heap_count;
	bool has_begun;
};

/* ------------------------------------------------------------------------------------------------ one member */

static uint64_t scaled(const struct twin *twin, uint64_t count)
{
	return (uint64_t)llround((double)count * twin->config->scale);
}

static uint16_t draw_cpu(struct generate *generate, const struct twin *twin, const struct twin_kind *kind)
{
	double left = generate_uniform(generate);
	for (uint32_t cpu = 0; cpu < twin->model.cpu_count; cpu++) {
		left -= kind->cpu_share[cpu];
		if (left < 0)
			return (uint16_t)cpu;
	}
	return 0;
}

/* On another cpu as often as the model says. */
static uint16_t draw_death_cpu(struct generate *generate, const struct twin *twin, const struct twin_kind *kind,
			       uint16_t cpu)
{
	uint32_t cpus = twin->model.cpu_count;
	if (cpus == 1 || generate_uniform(generate) >= kind->cross)
		return cpu;
	return (uint16_t)((cpu + 1 + generate_below(generate, cpus - 1)) % cpus);
}

static uint64_t draw_size(struct generate *generate, const struct twin_kind *kind, enum twin_stage stage)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < kind->size_count; i++)
		sum += kind->sizes[i].weight[stage];
	if (sum == 0)
		return kind->size_count ? kind->sizes[0].size_bytes : 0;
	uint64_t left = generate_below(generate, sum);
	uint32_t i = 0;
	for (; left >= kind->sizes[i].weight[stage]; i++)
		left -= kind->sizes[i].weight[stage];
	return kind->sizes[i].size_bytes;
}

/* When it is due: with the last long life, or by the quantiles. Those who never die are due last, in any order. */
static void draw_life(struct generate *generate, const struct twin *twin, struct player *player, bool is_warm,
		      struct member *member)
{
	const struct twin_life *life = is_warm ? &player->kind->warm_life : &player->kind->life;
	double long_ns = (double)twin->model.long_ns * twin->config->stretch;
	double uniform = generate_uniform(generate), again = generate_uniform(generate), ns = (double)INFINITY;
	if (life->is_known)
		ns = twin_life_at(life, uniform) * twin->config->stretch;
	if (isinf(ns))
		ns = (double)twin->duration_ns * (2 + again);
	member->is_long = ns >= long_ns;
	member->due_ns = (double)member->birth_ns + ns;
	if (!member->is_long)
		return;
	if (player->last_due_ns > (double)member->birth_ns && again < player->kind->together)
		member->due_ns = player->last_due_ns + 1;
	player->last_due_ns = member->due_ns;
}

static generate_id take(struct generate *generate, const struct twin *twin, const struct player *player,
			const struct member *member, enum twin_stage stage)
{
	const struct twin_kind *kind = player->kind;
	const struct generate_ask ask = {
		.size_bytes = draw_size(generate, kind, stage),
		.cache = kind->cache >= 0 ? twin->caches[kind->cache] : 0,
		.cpu = member->cpu,
		.flags = (uint16_t)(kind->flags | (stage == TWIN_WARM ? KMT_WARM : 0)),
		.is_pages = kind->is_pages,
		.order = kind->order,
	};
	return generate_alloc(generate, &ask);
}

/* ------------------------------------------------------------------------------------------------ one phase */

static bool reserve_members(struct player *player, uint64_t more)
{
	if (player->count + more <= player->room)
		return true;
	uint64_t room = player->count + more;
	room += room / 2;
	struct member *larger = realloc(player->members, room * sizeof *larger);
	if (!larger)
		return false;
	player->members = larger;
	player->room = room;
	return true;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Times of births, ascending, written behind the members as they will stand. */
static bool draw_births(struct generate *generate, struct player *player, uint64_t born)
{
	uint64_t length_ns = player->end_ns - player->begin_ns;
	uint64_t *times = malloc((born + 1) * sizeof *times);
	if (!times)
		return false;
	for (uint64_t i = 0; i < born; i++)
		times[i] = player->begin_ns + generate_below(generate, length_ns ? length_ns : 1);
	qsort(times, born, sizeof *times, by_time);
	for (uint64_t i = 0; i < born; i++)
		player->members[player->count + i] = (struct member){.birth_ns = times[i], .id = GENERATE_REFUSED};
	free(times);
	return true;
}

struct due {
	double due_ns;
	uint64_t member;
};

static int by_due(const void *a, const void *b)
{
	const struct due *x = a, *y = b;
	if (x->due_ns < y->due_ns || x->due_ns > y->due_ns)
		return x->due_ns < y->due_ns ? -1 : 1;
	return x->member < y->member ? -1 : x->member > y->member;
}

/* At its time, if that lies in the phase after its birth; else at any moment there. */
static uint64_t draw_death(struct generate *generate, const struct player *player, const struct member *member)
{
	double begin_ns = (double)(member->birth_ns > player->begin_ns ? member->birth_ns : player->begin_ns);
	double end_ns = (double)player->end_ns, at_ns = member->due_ns;
	if (at_ns < begin_ns || at_ns > end_ns)
		at_ns = begin_ns + generate_uniform(generate) * (end_ns - begin_ns);
	uint64_t death_ns = (uint64_t)at_ns;
	return death_ns > member->birth_ns ? death_ns : member->birth_ns + 1;
}

/* So many, those due first. */
static bool choose_deaths(struct generate *generate, const struct twin *twin, struct player *player, uint64_t deaths)
{
	struct due *due = malloc((player->count + 1) * sizeof *due);
	if (!due)
		return false;
	for (uint64_t i = 0; i < player->count; i++)
		due[i] = (struct due){player->members[i].due_ns, i};
	qsort(due, player->count, sizeof *due, by_due);
	for (uint64_t i = 0; i < deaths; i++) {
		struct member *member = &player->members[due[i].member];
		member->death_ns = draw_death(generate, player, member);
		if (member->is_born)
			generate_free_at(generate, member->id,
					 draw_death_cpu(generate, twin, player->kind, member->cpu), member->death_ns);
	}
	free(due);
	return true;
}

/* Those who died in the last phase are forgotten. */
static void forget_dead(struct player *player)
{
	uint64_t kept = 0;
	for (uint64_t i = 0; i < player->count; i++)
		if (player->members[i].death_ns == 0)
			player->members[kept++] = player->members[i];
	player->count = player->next = kept;
}

static uint64_t end_of_phase(const struct twin *twin, const struct player *player, uint32_t phase)
{
	return (uint64_t)((unsigned __int128)twin->duration_ns * player->kind->until[phase] / TWIN_TICKS);
}

static bool plan_phase(struct generate *generate, const struct twin *twin, struct player *player)
{
	const struct twin_kind *kind = player->kind;
	uint64_t born = scaled(twin, kind->born[player->phase]), wanted = scaled(twin, kind->live[player->phase + 1]);
	player->begin_ns = player->end_ns;
	player->end_ns = end_of_phase(twin, player, player->phase++);
	forget_dead(player);
	if (!reserve_members(player, born) || !draw_births(generate, player, born))
		return false;
	for (uint64_t i = player->count; i < player->count + born; i++) {
		player->members[i].cpu = draw_cpu(generate, twin, kind);
		draw_life(generate, twin, player, false, &player->members[i]);
	}
	player->count += born;
	return player->count <= wanted || choose_deaths(generate, twin, player, player->count - wanted);
}

static void bear(struct generate *generate, const struct twin *twin, struct player *player)
{
	struct member *member = &player->members[player->next++];
	member->id = take(generate, twin, player, member, member->is_long ? TWIN_LONG : TWIN_SHORT);
	member->is_born = true;
	if (member->death_ns > 0)
		generate_free_at(generate, member->id, draw_death_cpu(generate, twin, player->kind, member->cpu),
				 member->death_ns);
}

/* ------------------------------------------------------------------------------------------------ all kinds */

/* The next birth, or the end of the phase. */
static uint64_t next_moment(const struct player *player)
{
	return player->next < player->count ? player->members[player->next].birth_ns : player->end_ns;
}

static bool comes_before(const struct twin *twin, uint32_t a, uint32_t b)
{
	uint64_t x = next_moment(&twin->players[a]), y = next_moment(&twin->players[b]);
	return x < y || (x == y && a < b);
}

static void sift_down(struct twin *twin, uint32_t at)
{
	uint32_t moved = twin->heap[at];
	for (uint32_t child = 2 * at + 1; child < twin->heap_count; child = 2 * at + 1) {
		child += child + 1 < twin->heap_count && comes_before(twin, twin->heap[child + 1], twin->heap[child]);
		if (!comes_before(twin, twin->heap[child], moved))
			break;
		twin->heap[at] = twin->heap[child];
		at = child;
	}
	twin->heap[at] = moved;
}

/* What was there at the start, kind by kind, as a recorded trace tells it. */
static bool begin(struct generate *generate, struct twin *twin)
{
	for (uint32_t i = 0; i < twin->model.kind_count; i++) {
		struct player *player = &twin->players[i];
		uint64_t warm = scaled(twin, player->kind->live[0]);
		if (!reserve_members(player, warm))
			return false;
		for (; player->count < warm; player->count++) {
			struct member *member = &player->members[player->count];
			*member = (struct member){.is_born = true, .cpu = draw_cpu(generate, twin, player->kind)};
			draw_life(generate, twin, player, true, member);
			member->id = take(generate, twin, player, member, TWIN_WARM);
		}
	}
	for (uint32_t i = 0; i < twin->model.kind_count; i++) {
		if (!plan_phase(generate, twin, &twin->players[i]))
			return false;
		twin->heap[twin->heap_count++] = i;
	}
	for (uint32_t i = twin->heap_count; i-- > 0;)
		sift_down(twin, i);
	return true;
}

/* The next birth of any kind, or its next phase. */
static bool go_on(struct generate *generate, struct twin *twin)
{
	struct player *player = &twin->players[twin->heap[0]];
	generate_advance_to(generate, next_moment(player));
	if (player->next < player->count) {
		bear(generate, twin, player);
	} else if (player->phase < player->kind->phases) {
		if (!plan_phase(generate, twin, player))
			return false;
	} else {
		twin->heap[0] = twin->heap[--twin->heap_count];
	}
	if (twin->heap_count > 0)
		sift_down(twin, 0);
	return true;
}

static bool step(struct generate *generate, void *state)
{
	struct twin *twin = state;
	bool done = twin->has_begun ? go_on(generate, twin) : begin(generate, twin);
	twin->has_begun = true;
	if (!done)
		generate_fail(generate, "out of memory for its live objects: ask for a smaller scale");
	return done && twin->heap_count > 0;
}

static bool prepare(struct generate *generate, struct twin *twin, struct kml_error *error)
{
	struct twin_model *model = &twin->model;
	twin->caches = calloc(model->cache_count + 1u, sizeof *twin->caches);
	twin->players = calloc(model->kind_count, sizeof *twin->players);
	twin->heap = calloc(model->kind_count, sizeof *twin->heap);
	if (!twin->caches || !twin->players || !twin->heap)
		return kml_fail(error, "%s: out of memory", twin->config->model);
	for (uint32_t i = 0; i < model->cache_count; i++) {
		struct kmt_cache cache = model->caches[i];
		cache.slabs_at_start = scaled(twin, cache.slabs_at_start);
		cache.objects_at_start = scaled(twin, cache.objects_at_start);
		twin->caches[i] = generate_cache(generate, &cache);
	}
	for (uint32_t i = 0; i < model->kind_count; i++)
		twin->players[i].kind = &model->kinds[i];
	return true;
}

static void end(void *state)
{
	struct twin *twin = state;
	for (uint32_t i = 0; twin->players && i < twin->model.kind_count; i++)
		free(twin->players[i].members);
	free(twin->players);
	free(twin->heap);
	free(twin->caches);
	twin_model_free(&twin->model);
}

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct twin *twin = state;
	twin->config = config;
	if (*twin->config->model == '\0')
		return kml_fail(error,
				"twin: model: name the file that 'kmemlab generate --fit TRACE.kmt' has written");
	if (!(twin->config->scale > 0) || !(twin->config->stretch > 0))
		return kml_fail(error, "twin: %s: give a number above 0",
				twin->config->scale > 0 ? "stretch" : "scale");
	bool done = twin_model_read(twin->config->model, &twin->model, error);
	if (done && twin->model.page_bytes != 4096)
		done = kml_fail(error, "%s: page_bytes: workloads have pages of 4096 bytes", twin->config->model);
	twin->duration_ns = (uint64_t)((double)twin->model.duration_ns * twin->config->stretch);
	if (done && !(twin->duration_ns > 0 && twin->duration_ns < TWIN_TIME_MAX_NS))
		done = kml_fail(error, "twin: stretch: the whole would take %" PRIu64 " ns", twin->duration_ns);
	done = done && prepare(generate, twin, error);
	if (done)
		generate_choose_cpus(generate, twin->model.cpu_count);
	else
		end(twin);
	return done;
}

const struct generator generator_twin = {
	.name = "twin",
	.title = "The twin of a trace",
	.citation = "lifetimes: Kaplan & Meier, JASA 53 (1958)",
	.summary =
		"what 'kmemlab generate --fit' has fitted to a trace, from a few kilobytes: counts by phase of time, "
		"lifetimes, sizes and cpus of each cache",
	.params = params,
	.config_bytes = sizeof(struct twin_config),
	.state_bytes = sizeof(struct twin),
	.start = start,
	.step = step,
	.end = end,
};
