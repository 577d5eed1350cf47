/*
 * twin_model.c - the file of a twin's model: read with every field checked, written one cache or kind a line.
 */
#include "workloads/generate/twin_model.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"

enum { FILE_BYTES_MAX = 64 << 20, CACHE_COLUMNS = 8 };
static const char FORMAT[] = "kmemlab-twin";

/* The columns of a cache's row after its name. */
static const char *const cache_columns[CACHE_COLUMNS] = {
	"object_bytes", "slot_bytes", "align_bytes", "objects_per_slab", "pages_per_slab", "slabs", "active", "flags"};

/* ------------------------------------------------------------------------------------------------ lifetimes */

const double twin_shares[TWIN_QUANTILES] = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 1};

double twin_life_at(const struct twin_life *life, double uniform)
{
	int above = 1;
	while (above < TWIN_QUANTILES - 1 && twin_shares[above] <= uniform)
		above++;
	double low = life->quantile_ns[above - 1], high = life->quantile_ns[above];
	if (isinf(low) || isinf(high))
		return (double)INFINITY;
	double place = (uniform - twin_shares[above - 1]) / (twin_shares[above] - twin_shares[above - 1]);
	return exp(log(low) + place * (log(high) - log(low)));
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Where in the file we are, for errors: "twin.json: kinds[3].born[7]". */
struct place {
	const char *name;
	char path[200];
	struct kml_error *error;
};

static bool wrong(const struct place *place, const char *field, const char *mend)
{
	return kml_fail(place->error, "%s: %s%s%s: %s", place->name, place->path, *place->path && *field ? "." : "",
			field, mend);
}

static bool number_is(const cJSON *item, double minimum, double maximum)
{
	return cJSON_IsNumber(item) && item->valuedouble >= minimum && item->valuedouble <= maximum;
}

/* A whole number that is there. */
static bool read_whole(const struct place *place, const cJSON *item, const char *field, uint64_t minimum,
		       uint64_t maximum, uint64_t *value)
{
	char mend[128];
	if (number_is(item, (double)minimum, (double)maximum) && floor(item->valuedouble) == item->valuedouble) {
		*value = (uint64_t)item->valuedouble;
		return true;
	}
	snprintf(mend, sizeof mend, "give a whole number from %" PRIu64 " to %" PRIu64 "%s", minimum, maximum,
		 item ? "" : "; it is missing");
	return wrong(place, field, mend);
}

static bool read_field(const struct place *place, const cJSON *object, const char *field, uint64_t minimum,
		       uint64_t maximum, uint64_t *value)
{
	return read_whole(place, cJSON_GetObjectItemCaseSensitive(object, field), field, minimum, maximum, value);
}

/* A share; 0 where it is left out. */
static bool read_share(const struct place *place, const cJSON *object, const char *field, double *share)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
	*share = 0;
	if (!item)
		return true;
	if (!number_is(item, 0, 1))
		return wrong(place, field, "give a share from 0 to 1");
	*share = item->valuedouble;
	return true;
}

static const cJSON *array_of(const struct place *place, const cJSON *object, const char *field, int minimum,
			     int maximum)
{
	const cJSON *array = cJSON_GetObjectItemCaseSensitive(object, field);
	int size = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : -1;
	char mend[96];
	if (size >= minimum && size <= maximum)
		return array;
	snprintf(mend, sizeof mend, "give an array of %d to %d%s", minimum, maximum, array ? "" : "; it is missing");
	wrong(place, field, mend);
	return NULL;
}

static bool read_series(const struct place *place, const cJSON *array, const char *field, uint64_t *counts)
{
	char name[64];
	int i = 0;
	const cJSON *item;
	cJSON_ArrayForEach(item, array)
	{
		snprintf(name, sizeof name, "%s[%d]", field, i);
		if (!read_whole(place, item, name, 0, TWIN_COUNT_MAX, &counts[i++]))
			return false;
	}
	return true;
}

/* Logarithms to the base 10; those left out at the end: so many never died. */
static bool read_life(const struct place *place, const cJSON *object, const char *field, struct twin_life *life)
{
	life->is_known = cJSON_HasObjectItem(object, field);
	if (!life->is_known)
		return true;
	const cJSON *array = array_of(place, object, field, 1, TWIN_QUANTILES), *item;
	if (!array)
		return false;
	double before = 0;
	int i = 0;
	for (int never = cJSON_GetArraySize(array); never < TWIN_QUANTILES; never++)
		life->quantile_ns[never] = (double)INFINITY;
	cJSON_ArrayForEach(item, array)
	{
		if (!number_is(item, 0, 16) || item->valuedouble < before)
			return wrong(place, field, "give ascending logarithms of ns to the base 10, from 0 to 16");
		life->quantile_ns[i++] = pow(10, item->valuedouble);
		before = item->valuedouble;
	}
	return true;
}

static bool read_cpus(const struct place *place, const cJSON *object, uint32_t cpu_count, double *share)
{
	const cJSON *array = array_of(place, object, "cpus", (int)cpu_count, (int)cpu_count), *item;
	double sum = 0;
	int i = 0;
	if (!array)
		return false;
	cJSON_ArrayForEach(item, array)
	{
		if (!number_is(item, 0, 1))
			return wrong(place, "cpus", "give shares from 0 to 1");
		share[i++] = item->valuedouble;
		sum += item->valuedouble;
	}
	return sum > 0 || wrong(place, "cpus", "one share at least must be more than 0");
}

static bool read_sizes(const struct place *place, const cJSON *object, const struct twin_model *model,
		       struct twin_kind *kind)
{
	if (!cJSON_HasObjectItem(object, "sizes"))
		return kind->is_pages || kind->cache >= 0 ||
		       wrong(place, "sizes", "a kind without a cache must tell its sizes");
	const cJSON *array = array_of(place, object, "sizes", 1, TWIN_SIZES_MAX), *row;
	uint64_t most = kind->cache >= 0 ? model->caches[kind->cache].object_bytes : 1ull << 40, sum = 0;
	if (!array)
		return false;
	cJSON_ArrayForEach(row, array)
	{
		struct twin_size *size = &kind->sizes[kind->size_count++];
		if (!cJSON_IsArray(row) || cJSON_GetArraySize(row) != 1 + TWIN_STAGES)
			return wrong(place, "sizes", "give rows of a size and three weights");
		if (!read_whole(place, cJSON_GetArrayItem(row, 0), "sizes", 1, most, &size->size_bytes))
			return false;
		for (int stage = 0; stage < TWIN_STAGES; stage++) {
			if (!read_whole(place, cJSON_GetArrayItem(row, 1 + stage), "sizes", 0, TWIN_COUNT_MAX,
					&size->weight[stage]))
				return false;
			sum += size->weight[stage];
		}
	}
	return sum > 0 || wrong(place, "sizes", "one weight at least must be more than 0");
}

/* Where phases end; one phase needs not be told. */
static bool read_until(const struct place *place, const cJSON *object, struct twin_kind *kind)
{
	kind->until[kind->phases - 1] = TWIN_TICKS;
	if (kind->phases == 1)
		return true;
	const cJSON *until = array_of(place, object, "until", (int)kind->phases, (int)kind->phases), *item;
	uint64_t before = 0;
	uint32_t i = 0;
	if (!until)
		return false;
	cJSON_ArrayForEach(item, until)
	{
		if (!read_whole(place, item, "until", before + 1, TWIN_TICKS, &before))
			return false;
		kind->until[i++] = (uint16_t)before;
	}
	return before == TWIN_TICKS || wrong(place, "until", "the last phase must end at 1024, the end of the trace");
}

/* "live" of one number: that many, all the time, and none is born. */
static bool read_counts(const struct place *place, const cJSON *object, struct twin_kind *kind)
{
	const cJSON *live = array_of(place, object, "live", 1, TWIN_TICKS + 1);
	if (!live)
		return false;
	int count = cJSON_GetArraySize(live);
	bool is_still = count == 1;
	kind->phases = is_still ? 1 : (uint32_t)count - 1;
	kind->until = calloc(kind->phases, sizeof *kind->until);
	kind->live = calloc(kind->phases + 1, sizeof *kind->live);
	kind->born = calloc(kind->phases, sizeof *kind->born);
	if (!kind->until || !kind->live || !kind->born)
		return wrong(place, "live", "out of memory");
	if (!read_until(place, object, kind) || !read_series(place, live, "live", kind->live))
		return false;
	if (is_still) {
		kind->live[1] = kind->live[0];
		return true;
	}
	const cJSON *born = array_of(place, object, "born", (int)kind->phases, (int)kind->phases);
	if (!born || !read_series(place, born, "born", kind->born))
		return false;
	for (uint32_t phase = 0; phase < kind->phases; phase++)
		if (kind->live[phase + 1] > kind->live[phase] + kind->born[phase])
			return wrong(place, "live",
				     "more are alive at the end of a phase than were before and were born in it");
	return true;
}

static bool read_kind(const struct place *place, const cJSON *object, const struct twin_model *model,
		      struct twin_kind *kind)
{
	uint64_t flags = 0, order = 0;
	kind->is_pages = cJSON_HasObjectItem(object, "order");
	if (!cJSON_IsObject(object))
		return wrong(place, "", "give an object");
	if (!read_field(place, object, "flags", 0, UINT16_MAX, &flags))
		return false;
	if (flags & (KMT_WARM | KMT_IMPLICIT | KMT_SLAB_PAGE | ~(uint64_t)0x3fff))
		return wrong(place, "flags", "a bit in it is none that an allocation can have");
	if (kind->is_pages && !read_field(place, object, "order", 0, 20, &order))
		return false;
	if (kind->is_pages && kind->cache >= 0)
		return wrong(place, "order", "pages have no cache");
	kind->flags = (uint16_t)flags;
	kind->order = (uint8_t)order;
	if (!read_counts(place, object, kind) || !read_sizes(place, object, model, kind) ||
	    !read_life(place, object, "life", &kind->life) ||
	    !read_life(place, object, "warm_life", &kind->warm_life) ||
	    !read_share(place, object, "together", &kind->together) ||
	    !read_share(place, object, "cross", &kind->cross))
		return false;
	if (!cJSON_HasObjectItem(object, "cpus")) {
		kind->cpu_share[0] = 1;
		return true;
	}
	return read_cpus(place, object, model->cpu_count, kind->cpu_share);
}

static bool read_cache(const struct place *place, const cJSON *row, struct kmt_cache *cache)
{
	static const uint64_t most[CACHE_COLUMNS] = {1u << 30, 1u << 30,       1u << 30,       1u << 20,
						     1u << 20, TWIN_COUNT_MAX, TWIN_COUNT_MAX, 15};
	uint64_t value[CACHE_COLUMNS];
	const cJSON *name = cJSON_GetArrayItem(row, 0);
	if (!cJSON_IsArray(row) || cJSON_GetArraySize(row) < 1 + CACHE_COLUMNS || !cJSON_IsString(name) ||
	    name->valuestring[0] == '\0' || strlen(name->valuestring) > 255)
		return wrong(place, "", "give a name and the eight numbers that cache_columns names");
	for (int i = 0; i < CACHE_COLUMNS; i++)
		if (!read_whole(place, cJSON_GetArrayItem(row, 1 + i), cache_columns[i], i == 0, most[i], &value[i]))
			return false;
	if (value[2] & (value[2] - 1))
		return wrong(place, "align_bytes", "give a power of two, or 0");
	*cache = (struct kmt_cache){.name = strdup(name->valuestring),
				    .object_bytes = value[0],
				    .slot_bytes = value[1],
				    .align_bytes = value[2],
				    .objects_per_slab = (uint32_t)value[3],
				    .pages_per_slab = (uint32_t)value[4],
				    .slabs_at_start = value[5],
				    .objects_at_start = value[6],
				    .flags = (uint32_t)value[7]};
	return cache->name || wrong(place, "", "out of memory");
}

/* The next kind of the model, of a cache or of none. */
static bool add_kind(struct place *place, const cJSON *object, int32_t cache, struct twin_model *model)
{
	struct twin_kind *larger = realloc(model->kinds, (model->kind_count + 1) * sizeof *larger);
	if (!larger)
		return wrong(place, "", "out of memory");
	model->kinds = larger;
	if (model->kind_count == TWIN_KINDS_MAX)
		return wrong(place, "", "too many kinds");
	struct twin_kind *kind = &model->kinds[model->kind_count++];
	*kind = (struct twin_kind){.cache = cache};
	return read_kind(place, object, model, kind);
}

/* A cache's row: its name, its columns, and the kinds of allocations from it. */
static bool read_caches(struct place *place, const cJSON *root, struct twin_model *model)
{
	const cJSON *array = array_of(place, root, "caches", 0, TWIN_KINDS_MAX), *row;
	if (!array)
		return false;
	model->caches = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *model->caches);
	if (!model->caches)
		return wrong(place, "caches", "out of memory");
	cJSON_ArrayForEach(row, array)
	{
		int32_t cache = (int32_t)model->cache_count;
		snprintf(place->path, sizeof place->path, "caches[%" PRId32 "]", cache);
		if (!read_cache(place, row, &model->caches[cache]))
			return false;
		model->cache_count++;
		int at = 0;
		const cJSON *item;
		cJSON_ArrayForEach(item, row)
		{
			snprintf(place->path, sizeof place->path, "caches[%" PRId32 "][%d]", cache, at);
			if (at++ > CACHE_COLUMNS && !add_kind(place, item, cache, model))
				return false;
		}
	}
	place->path[0] = '\0';
	return true;
}

static bool read_kinds(struct place *place, const cJSON *root, struct twin_model *model)
{
	const cJSON *array = array_of(place, root, "kinds", 0, TWIN_KINDS_MAX), *item;
	int at = 0;
	if (!array)
		return false;
	cJSON_ArrayForEach(item, array)
	{
		snprintf(place->path, sizeof place->path, "kinds[%d]", at++);
		if (!add_kind(place, item, -1, model))
			return false;
	}
	place->path[0] = '\0';
	return model->kind_count > 0 || wrong(place, "kinds", "there is not one kind of allocation");
}

static bool read_root(struct place *place, const cJSON *root, struct twin_model *model)
{
	uint64_t version = 0, page_bytes = 0, cpus = 0;
	const cJSON *format = cJSON_GetObjectItemCaseSensitive(root, "format");
	if (!cJSON_IsString(format) || strcmp(format->valuestring, FORMAT) != 0)
		return wrong(place, "format",
			     "this is no model of a twin: 'kmemlab generate --fit TRACE.kmt' writes one");
	if (!read_field(place, root, "version", 1, TWIN_VERSION, &version) ||
	    !read_field(place, root, "page_bytes", 4096, 65536, &page_bytes) ||
	    !read_field(place, root, "cpu_count", 1, TWIN_CPUS_MAX, &cpus) ||
	    !read_field(place, root, "duration_ns", 1, TWIN_TIME_MAX_NS, &model->duration_ns) ||
	    !read_field(place, root, "long_ns", 0, TWIN_TIME_MAX_NS, &model->long_ns))
		return false;
	if (page_bytes & (page_bytes - 1))
		return wrong(place, "page_bytes", "give a power of two");
	model->page_bytes = (uint32_t)page_bytes;
	model->cpu_count = (uint32_t)cpus;
	return read_caches(place, root, model) && read_kinds(place, root, model);
}

static bool fail_syntax(const char *text, const char *at, const char *name, struct kml_error *error)
{
	unsigned line = 1;
	for (const char *c = text; at && c < at; c++)
		line += *c == '\n';
	return kml_fail(error,
			"%s: line %u is no JSON from '%.20s' on: 'kmemlab generate --fit TRACE.kmt' writes a model",
			name, line, at ? at : "");
}

bool twin_model_parse(const char *text, const char *name, struct twin_model *model, struct kml_error *error)
{
	struct place place = {.name = name, .error = error};
	*model = (struct twin_model){0};
	cJSON *root = cJSON_Parse(text);
	if (!root)
		return fail_syntax(text, cJSON_GetErrorPtr(), name, error);
	bool done = read_root(&place, root, model);
	cJSON_Delete(root);
	return done;
}

bool twin_model_read(const char *path, struct twin_model *model, struct kml_error *error)
{
	*model = (struct twin_model){0};
	FILE *stream = fopen(path, "rb");
	char *text = stream ? calloc(1, FILE_BYTES_MAX + 1) : NULL;
	if (!stream)
		return kml_fail(error, "%s: cannot be read: %s", path, strerror(errno));
	size_t bytes = text ? fread(text, 1, FILE_BYTES_MAX + 1, stream) : 0;
	bool bad = ferror(stream);
	fclose(stream);
	if (!text || bad || bytes > FILE_BYTES_MAX) {
		free(text);
		return kml_fail(error, "%s: %s", path,
				bad ? "cannot be read" : "too large for a model: it has a few kilobytes");
	}
	text[bytes] = '\0';
	bool done = twin_model_parse(text, path, model, error);
	free(text);
	return done;
}

void twin_model_free(struct twin_model *model)
{
	for (uint32_t i = 0; i < model->cache_count; i++)
		free((char *)model->caches[i].name);
	for (uint32_t i = 0; i < model->kind_count; i++) {
		free(model->kinds[i].until);
		free(model->kinds[i].born);
		free(model->kinds[i].live);
	}
	free(model->caches);
	free(model->kinds);
	*model = (struct twin_model){0};
}

/* ------------------------------------------------------------------------------------------------ writing */

static bool print_line(cJSON *item, bool is_last, FILE *stream)
{
	char *text = cJSON_PrintUnformatted(item);
	if (text)
		fprintf(stream, "%s%s\n", text, is_last ? "" : ",");
	bool done = text != NULL;
	free(text);
	cJSON_Delete(item);
	return done;
}

static void add_whole(cJSON *array, uint64_t value)
{
	cJSON_AddItemToArray(array, cJSON_CreateNumber((double)value));
}

/* As few digits as the number has to two decimals. */
static cJSON *rounded(double value)
{
	char text[32];
	snprintf(text, sizeof text, "%.2f", value);
	size_t length = strlen(text);
	while (text[length - 1] == '0')
		text[--length] = '\0';
	if (text[length - 1] == '.')
		text[--length] = '\0';
	return cJSON_CreateRaw(text);
}

static void add_life(cJSON *object, const char *field, const struct twin_life *life)
{
	if (!life->is_known)
		return;
	cJSON *array = cJSON_AddArrayToObject(object, field);
	for (int i = 0; i < TWIN_QUANTILES && !isinf(life->quantile_ns[i]); i++) /* the rest: never */
		cJSON_AddItemToArray(array, rounded(log10(life->quantile_ns[i])));
}

static void add_counts(cJSON *object, const struct twin_kind *kind)
{
	bool is_still = kind->phases == 1 && kind->born[0] == 0 && kind->live[0] == kind->live[1];
	cJSON *until = kind->phases > 1 ? cJSON_AddArrayToObject(object, "until") : NULL;
	for (uint32_t i = 0; until && i < kind->phases; i++)
		add_whole(until, kind->until[i]);
	cJSON *live = cJSON_AddArrayToObject(object, "live");
	for (uint32_t i = 0; i <= (is_still ? 0 : kind->phases); i++)
		add_whole(live, kind->live[i]);
	cJSON *born = is_still ? NULL : cJSON_AddArrayToObject(object, "born");
	for (uint32_t i = 0; born && i < kind->phases; i++)
		add_whole(born, kind->born[i]);
}

static cJSON *kind_json(const struct twin_model *model, const struct twin_kind *kind)
{
	cJSON *object = cJSON_CreateObject();
	if (kind->is_pages)
		cJSON_AddNumberToObject(object, "order", kind->order);
	cJSON_AddNumberToObject(object, "flags", kind->flags);
	add_counts(object, kind);
	add_life(object, "life", &kind->life);
	add_life(object, "warm_life", &kind->warm_life);
	if (kind->together > 0)
		cJSON_AddItemToObject(object, "together", rounded(kind->together));
	if (kind->cross > 0)
		cJSON_AddItemToObject(object, "cross", rounded(kind->cross));
	if (kind->cpu_share[0] < 1) {
		cJSON *cpus = cJSON_AddArrayToObject(object, "cpus");
		for (uint32_t cpu = 0; cpu < model->cpu_count; cpu++)
			cJSON_AddItemToArray(cpus, rounded(kind->cpu_share[cpu]));
	}
	cJSON *sizes = kind->size_count ? cJSON_AddArrayToObject(object, "sizes") : NULL;
	for (uint32_t i = 0; i < kind->size_count; i++) {
		cJSON *row = cJSON_CreateArray();
		add_whole(row, kind->sizes[i].size_bytes);
		for (int stage = 0; stage < TWIN_STAGES; stage++)
			add_whole(row, kind->sizes[i].weight[stage]);
		cJSON_AddItemToArray(sizes, row);
	}
	return object;
}

static cJSON *cache_json(const struct twin_model *model, uint32_t index)
{
	const struct kmt_cache *cache = &model->caches[index];
	const uint64_t value[CACHE_COLUMNS] = {cache->object_bytes,     cache->slot_bytes,     cache->align_bytes,
					       cache->objects_per_slab, cache->pages_per_slab, cache->slabs_at_start,
					       cache->objects_at_start, cache->flags};
	cJSON *row = cJSON_CreateArray();
	cJSON_AddItemToArray(row, cJSON_CreateString(cache->name));
	for (int i = 0; i < CACHE_COLUMNS; i++)
		add_whole(row, value[i]);
	for (uint32_t i = 0; i < model->kind_count; i++)
		if (model->kinds[i].cache == (int32_t)index)
			cJSON_AddItemToArray(row, kind_json(model, &model->kinds[i]));
	return row;
}

bool twin_model_write(const struct twin_model *model, FILE *stream)
{
	bool done = true;
	fprintf(stream, "{\n\"format\":\"%s\",\"version\":%d,\"page_bytes\":%" PRIu32 ",\"cpu_count\":%" PRIu32 ",\n",
		FORMAT, TWIN_VERSION, model->page_bytes, model->cpu_count);
	fprintf(stream, "\"duration_ns\":%" PRIu64 ",\"long_ns\":%" PRIu64 ",\n\"cache_columns\":[\"name\"",
		model->duration_ns, model->long_ns);
	for (int i = 0; i < CACHE_COLUMNS; i++)
		fprintf(stream, ",\"%s\"", cache_columns[i]);
	fputs("],\n\"caches\":[\n", stream);
	for (uint32_t i = 0; i < model->cache_count && done; i++)
		done = print_line(cache_json(model, i), i + 1 == model->cache_count, stream);
	fputs("],\n\"kinds\":[\n", stream);
	uint32_t left = 0;
	for (uint32_t i = 0; i < model->kind_count; i++)
		left += model->kinds[i].cache < 0;
	for (uint32_t i = 0; i < model->kind_count && done; i++)
		if (model->kinds[i].cache < 0)
			done = print_line(kind_json(model, &model->kinds[i]), --left == 0, stream);
	fputs("]}\n", stream);
	return done;
}
