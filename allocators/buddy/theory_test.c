/*
 * theory_test.c - internal fragmentation is what theory says: uniform requests of 1..N units, exactly and in
 * simulation.
 *
 * With a table of sizes b_1 < b_2 < ... the granted size for a request of n is the smallest b_i >= n, so the sum over
 * n = 1..N is known exactly. Overhead = E[granted]/E[requested]; internal fragmentation = 1 - 1/overhead (Peterson &
 * Norman, CACM 20(6), 1977; Russell, SIAM J. Comput. 6(4), 1977, for the limits). The fractions below were worked out
 * from the size sequences alone; for binary and N = 2^n the granted sum is (2*4^n + 1)/3.
 */
#include <math.h>

#include "allocators/buddy/testing.h"

enum { REQUEST_LIMITS = 6, SIMULATED_REQUESTS = 50000, LIVE_MAX = 64 };

static const uint64_t request_limits[REQUEST_LIMITS] = {64, 100, 256, 1000, 1024, 4096};

struct fraction {
	uint64_t numerator, denominator;
};

/* Overhead under uniform integers 1..N, for each N above. */
struct theory {
	const char *spec;
	struct fraction overhead[REQUEST_LIMITS];
};

#define WEIGHTED_OVERHEADS                                                                                             \
	{                                                                                                              \
		{239, 208}, {2987, 2525}, {19115, 16448}, {293547, 250250}, {61167, 52480}, {4893355, 4195328},        \
	}

static const struct theory theories[] = {
	{"binary:unit=1",
	 {{2731, 2080}, {7339, 5050}, {43691, 32896}, {26979, 20020}, {699051, 524800}, {11184811, 8390656}}},
	{"fibonacci:unit=1",
	 {{2671, 2080}, {648, 505}, {2639, 2056}, {56621, 45500}, {661159, 524800}, {163255, 131104}}},
	{"weighted:unit=1", WEIGHTED_OVERHEADS},
	{"kary:unit=1,k=3",
	 {{443, 260}, {4769, 2525}, {13441, 8224}, {495629, 250250}, {521873, 262400}, {1007011, 524416}}},
	{"kary:unit=1,k=4",
	 {{3277, 2080}, {12493, 5050}, {52429, 32896}, {162857, 100100}, {838861, 524800}, {13421773, 8390656}}},
	/* The same sizes as weighted, or the same as binary, by another split. */
	{"dual:unit=1", WEIGHTED_OVERHEADS},
	{"tertiary:unit=1", WEIGHTED_OVERHEADS},
	{"kary:unit=1,k=2",
	 {{2731, 2080}, {7339, 5050}, {43691, 32896}, {26979, 20020}, {699051, 524800}, {11184811, 8390656}}},
	{"fibonacci:unit=1,j=1",
	 {{2731, 2080}, {7339, 5050}, {43691, 32896}, {26979, 20020}, {699051, 524800}, {11184811, 8390656}}},
};
enum { THEORIES = sizeof theories / sizeof theories[0] };

/* Room for every class many times over, so that the smallest class that fits is always to be had. */
static const uint64_t ARENA_BYTES = 1u << 24;

static uint64_t sum_of_grants(const char *spec, uint64_t request_limit)
{
	struct bench bench;
	bench_open(&bench, spec, ARENA_BYTES);
	uint64_t sum_bytes = 0;
	for (uint64_t size_bytes = 1; size_bytes <= request_limit; size_bytes++) {
		struct kml_grant grant = bench_alloc(&bench, size_bytes, 0);
		assert_int_equal(grant.status, KML_OK);
		sum_bytes += grant.granted_bytes;
		assert_int_equal(bench_free(&bench, grant.address), KML_OK);
	}
	bench_close(&bench);
	return sum_bytes;
}

static void overhead_is_exactly_the_fraction(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < THEORIES; i++)
		for (uint32_t j = 0; j < REQUEST_LIMITS; j++) {
			uint64_t n = request_limits[j], requested_bytes = n * (n + 1) / 2;
			struct fraction overhead = theories[i].overhead[j];
			assert_int_equal(sum_of_grants(theories[i].spec, n) * overhead.denominator,
					 requested_bytes * overhead.numerator);
		}
}

static void binary_sum_at_powers_of_two_is_a_formula(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 12; n++)
		assert_int_equal(sum_of_grants("binary:unit=1", 1u << n), ((2ull << 2 * n) + 1) / 3);
}

/* Random requests with random lifetimes; *error: the standard error of the ratio, by the delta method. */
static double simulated_overhead(const char *spec, uint64_t request_limit, uint64_t seed, double *standard_error)
{
	struct bench bench;
	bench_open(&bench, spec, ARENA_BYTES);
	static uint64_t requested[SIMULATED_REQUESTS], granted[SIMULATED_REQUESTS];
	uint64_t live[LIVE_MAX], live_count = 0, sum_requested = 0, sum_granted = 0;
	for (uint32_t i = 0; i < SIMULATED_REQUESTS; i++) {
		if (live_count == LIVE_MAX) {
			uint64_t victim = random_next(&seed) % live_count;
			assert_int_equal(bench_free(&bench, live[victim]), KML_OK);
			live[victim] = live[--live_count];
		}
		requested[i] = 1 + random_next(&seed) % request_limit;
		struct kml_grant grant = bench_alloc(&bench, requested[i], 0);
		assert_int_equal(grant.status, KML_OK);
		live[live_count++] = grant.address;
		granted[i] = grant.granted_bytes;
		sum_requested += requested[i];
		sum_granted += granted[i];
	}
	bench_close(&bench);
	double overhead = (double)sum_granted / (double)sum_requested, squares = 0;
	for (uint32_t i = 0; i < SIMULATED_REQUESTS; i++) {
		double residual = (double)granted[i] - overhead * (double)requested[i];
		squares += residual * residual;
	}
	*standard_error = sqrt(squares) / (double)sum_requested;
	return overhead;
}

static void simulation_is_within_four_standard_errors(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < THEORIES; i++)
		for (uint32_t j = 0; j < REQUEST_LIMITS; j++) {
			double standard_error;
			double simulated =
				simulated_overhead(theories[i].spec, request_limits[j], 1000 * i + j, &standard_error);
			struct fraction exact = theories[i].overhead[j];
			double expected = (double)exact.numerator / (double)exact.denominator;
			assert_true(standard_error > 0 && standard_error < 0.01);
			if (fabs(simulated - expected) > 4 * standard_error)
				fail_msg("%s, 1..%llu: overhead %.6f, theory %.6f, standard error %.6f",
					 theories[i].spec, (unsigned long long)request_limits[j], simulated, expected,
					 standard_error);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overhead_is_exactly_the_fraction),
		cmocka_unit_test(binary_sum_at_powers_of_two_is_a_formula),
		cmocka_unit_test(simulation_is_within_four_standard_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
