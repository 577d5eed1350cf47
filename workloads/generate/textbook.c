/*
 * textbook.c - the cases that a buddy allocator is shown with, by the names of Linux's own tests of one
 * (drivers/gpu/drm/tests/drm_buddy_test.c, Arunpravin Paneer Selvam & Christian Koenig): blocks of 2^k pages in an
 * arena of their size. What a binary buddy must answer is part of each case:
 *
 *   limit          one block of 2^order pages, in an arena of one: granted, and nothing after it
 *   optimistic     an arena of 2^(order+1) - 1 pages: one block of each order 0..order is granted; then nothing is left
 *   pessimistic    an arena of 2^order pages: one block of each order 0..order-1, and one last page; then no order is
 *                  granted. Freed in increasing size each makes room for one of the next order: `order` refusals in all
 *   pathological   for top = order..1: the largest block is freed, and its half whittled down to one page again; no
 *                  block of 2^top is granted. In the end `order` pages are free, each alone: 2 x order
 *                  refusals
 *   fragmentation  every page taken, every other one freed: half of memory is free, and no two pages together
 *
 * A request that must be refused is in the stream too; an allocator that serves it is no binary buddy.
 */
#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/kernel_caches.h"
#include "workloads/generate/ids.h"

enum { PAGE_BYTES = 4096, ORDER_MAX = 20 };

struct textbook_config {
	struct generate_common common;
	uint64_t order;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	{.name = "order",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct textbook_config, order),
	 .default_text = "10",
	 .minimum = 1,
	 .maximum = ORDER_MAX,
	 .help = "of the largest block: 2^order pages"},
	GENERATE_PARAM_ARENA("auto"),
	{0},
};

struct textbook {
	uint64_t order;
	struct ids taken;
};

static bool start_in(struct generate *generate, void *state, const void *config, uint64_t pages)
{
	struct textbook *textbook = state;
	const struct textbook_config *given = config;
	textbook->order = given->order;
	generate_choose_arena(generate, pages * PAGE_BYTES);
	return true;
}

static bool start_power(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	(void)error;
	return start_in(generate, state, config, 1ull << ((const struct textbook_config *)config)->order);
}

static bool start_all_orders(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	(void)error;
	return start_in(generate, state, config, (2ull << ((const struct textbook_config *)config)->order) - 1);
}

static void end(void *state)
{
	ids_free(&((struct textbook *)state)->taken);
}

static generate_id take(struct generate *generate, uint64_t order)
{
	generate_advance_to(generate, generate_now(generate) + 1000);
	return kernel_pages(generate, (uint8_t)order, 0, 0);
}

/* A block that must not be granted: given back at once where it is. */
static void ask_in_vain(struct generate *generate, uint64_t order)
{
	generate_free(generate, take(generate, order), 0);
}

static void free_all(struct generate *generate, struct textbook *textbook)
{
	while (textbook->taken.count > 0)
		generate_free(generate, ids_take_oldest(&textbook->taken), 0);
}

static bool limit(struct generate *generate, void *state)
{
	struct textbook *textbook = state;
	generate_id all = take(generate, textbook->order);
	ask_in_vain(generate, 0);
	generate_free(generate, all, 0);
	return false;
}

static bool optimistic(struct generate *generate, void *state)
{
	struct textbook *textbook = state;
	for (uint64_t order = 0; order <= textbook->order; order++)
		ids_add(&textbook->taken, take(generate, order));
	ask_in_vain(generate, 0);
	free_all(generate, textbook);
	return false;
}

static bool pessimistic(struct generate *generate, void *state)
{
	struct textbook *textbook = state;
	for (uint64_t order = 0; order < textbook->order; order++)
		ids_add(&textbook->taken, take(generate, order));
	generate_id last = take(generate, 0);
	for (uint64_t order = textbook->order; order-- > 0;)
		ask_in_vain(generate, order);
	generate_free(generate, last, 0);
	for (uint64_t order = 1; textbook->taken.count > 0; order++) {
		generate_free(generate, ids_take_oldest(&textbook->taken), 0);
		generate_free(generate, take(generate, order), 0);
	}
	return false;
}

/* The blocks that are whittled stand in the order of their taking, the largest of each round first. */
static bool pathological(struct generate *generate, void *state)
{
	struct textbook *textbook = state;
	struct ids holes = {0};
	for (uint64_t top = textbook->order; top > 0; top--) {
		if (textbook->taken.count > 0)
			generate_free(generate, ids_take_oldest(&textbook->taken), 0);
		struct ids round = {0};
		for (uint64_t order = top; order-- > 0;)
			ids_add(&round, take(generate, order));
		ids_add(&holes, take(generate, 0));
		ask_in_vain(generate, top);
		while (round.count > 0)
			ids_add(&textbook->taken, ids_take_oldest(&round));
		ids_free(&round);
	}
	while (holes.count > 0)
		generate_free(generate, ids_take_oldest(&holes), 0);
	ids_free(&holes);
	for (uint64_t order = 1; order <= textbook->order; order++)
		ask_in_vain(generate, order);
	free_all(generate, textbook);
	return false;
}

static bool fragmentation(struct generate *generate, void *state)
{
	struct textbook *textbook = state;
	uint64_t pages = 1ull << textbook->order;
	struct ids stays = {0};
	for (uint64_t page = 0; page < pages; page++)
		ids_add(page % 2 ? &stays : &textbook->taken, take(generate, 0));
	free_all(generate, textbook);
	for (uint64_t order = 1; order <= textbook->order; order++)
		ask_in_vain(generate, order);
	while (stays.count > 0)
		generate_free(generate, ids_take_oldest(&stays), 0);
	ids_free(&stays);
	generate_free(generate, take(generate, textbook->order), 0);
	return false;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): name_ is a function's and a part of a name. */
#define TEXTBOOK(name_, title_, summary_, start_)                                                                      \
	const struct generator generator_##name_ = {                                                                   \
		.name = #name_,                                                                                        \
		.title = (title_),                                                                                     \
		.citation = "Linux, drivers/gpu/drm/tests/drm_buddy_test.c",                                           \
		.summary = (summary_),                                                                                 \
		.params = params,                                                                                      \
		.config_bytes = sizeof(struct textbook_config),                                                        \
		.state_bytes = sizeof(struct textbook),                                                                \
		.start = (start_),                                                                                     \
		.step = name_,                                                                                         \
		.end = end,                                                                                            \
	}

TEXTBOOK(limit, "One block as large as memory", "the largest block is granted, and nothing after it", start_power);
TEXTBOOK(optimistic, "One block of each order, as many as there is room for",
	 "2^(order+1) - 1 pages are filled exactly", start_all_orders);
TEXTBOOK(pessimistic, "One block of each order and nothing left", "2^order pages filled; freed in increasing size",
	 start_power);
TEXTBOOK(pathological, "Whittled down, the largest block again and again",
	 "`order` pages are free in the end, each alone", start_power);
TEXTBOOK(fragmentation, "Every other page is free", "half of memory is free, no two pages of it together", start_power);
/* NOLINTEND(bugprone-macro-parentheses) */
