/*
 * purdom_stigler_test.c - the bottom level of a buddy system against the equations of Purdom & Stigler, solved here.
 */
#include <math.h>

#include "workloads/testing.h"

#include "workloads/generate/purdom_stigler.h"

/* ------------------------------------------------------------------------------------------------ theory */

/* n live blocks, k of them with a free buddy; n beyond 10 deviations has no weight (P < 1e-12 at these rates). */
enum { LIVE_MAX = 64, ROUNDS = 4000 };

struct chain {
	double p[LIVE_MAX + 1][LIVE_MAX + 1]; /* [n][k], k <= n, n + k even */
};

static double inflow(const struct chain *chain, double rho, int n, int k)
{
	double in = 0;
	if (n > 0 && k < n)
		in += rho * chain->p[n - 1][k + 1];
	if (n > 0 && k == 1)
		in += rho * chain->p[n - 1][0];
	if (n < LIVE_MAX)
		in += (k + 1) * chain->p[n + 1][k + 1];
	if (n < LIVE_MAX && k > 0)
		in += (n + 1 - (k - 1)) * chain->p[n + 1][k - 1];
	return in;
}

static void normalise(struct chain *chain)
{
	double sum = 0;
	for (int n = 0; n <= LIVE_MAX; n++)
		for (int k = 0; k <= n; k++)
			sum += chain->p[n][k];
	for (int n = 0; n <= LIVE_MAX; n++)
		for (int k = 0; k <= n; k++)
			chain->p[n][k] /= sum;
}

/* The balance equations, by Gauss and Seidel. mu = 1, lambda = rho. */
static void solve(struct chain *chain, double rho)
{
	memset(chain, 0, sizeof *chain);
	for (int n = 0; n <= LIVE_MAX; n++)
		for (int k = n % 2; k <= n; k += 2)
			chain->p[n][k] = 1;
	for (int round = 0; round < ROUNDS; round++) {
		for (int n = 0; n <= LIVE_MAX; n++)
			for (int k = n % 2; k <= n; k += 2)
				chain->p[n][k] = inflow(chain, rho, n, k) / ((n < LIVE_MAX ? rho : 0) + n);
		normalise(chain);
	}
}

static double expected_available(const struct chain *chain)
{
	double sum = 0;
	for (int n = 0; n <= LIVE_MAX; n++)
		for (int k = 0; k <= n; k++)
			sum += k * chain->p[n][k];
	return sum;
}

/* P(k = 0) = 1/(lambda T). */
static double nothing_available(const struct chain *chain)
{
	double sum = 0;
	for (int n = 0; n <= LIVE_MAX; n++)
		sum += chain->p[n][0];
	return sum;
}

/* E[k]/sqrt(rho), and E[k] lambda T = rho, of the equations themselves. */
static void equations_have_the_known_solution(void **state)
{
	(void)state;
	struct chain chain;
	static const struct {
		double rho, ratio;
	} known[] = {{1, 0.5235}, {10, 0.5487}};
	for (int i = 0; i < 2; i++) {
		solve(&chain, known[i].rho);
		double available = expected_available(&chain);
		print_message("rho %g: E[k]/sqrt(rho) = %.5f\n", known[i].rho, available / sqrt(known[i].rho));
		assert_true(fabs(available / sqrt(known[i].rho) - known[i].ratio) < 0.0005);
		assert_true(fabs(available / nothing_available(&chain) - known[i].rho) < 1e-6 * known[i].rho);
	}
}

/* ------------------------------------------------------------------------------------------------ measured */

static struct purdom_stigler measure(const char *stack, double rho, uint64_t arrivals, uint32_t seeds)
{
	struct purdom_stigler result;
	struct kml_error error;
	if (!purdom_stigler_measure(stack, rho, arrivals, seeds, &result, &error))
		fail_msg("%s: %s", stack, error.text);
	print_message("%s, rho %g: E[k]/sqrt(rho) = %.4f +- %.4f, lambda T = %.4f +- %.4f, identity %.4f +- %.4f\n",
		      stack, rho, result.available / sqrt(rho), result.available_error / sqrt(rho), result.per_request,
		      result.per_request_error, result.identity, result.identity_error);
	return result;
}

static void assert_near(double measured, double expected, double standard_error)
{
	if (!(fabs(measured - expected) <= 4 * standard_error))
		fail_msg("%g is %.1f standard errors (%g) from %g", measured,
			 fabs(measured - expected) / standard_error, standard_error, expected);
}

/* Every policy, and the same system in another notation: which of the k blocks is granted changes nothing. */
static void binary_is_as_the_equations_say(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary:policy=lifo", "binary:policy=fifo", "binary:policy=lowest",
					     "kary:k=2"};
	struct chain chain;
	for (int i = 0; i < 8; i++) {
		double rho = i < 4 ? 1 : 10;
		solve(&chain, rho);
		struct purdom_stigler result = measure(stacks[i % 4], rho, 20000, 10);
		assert_near(result.available, expected_available(&chain), result.available_error);
		assert_near(result.per_request, 1 / nothing_available(&chain), result.per_request_error);
		assert_near(result.identity, 1, result.identity_error);
	}
}

/* E[k]/sqrt(rho) by simulation elsewhere, known to four places: ours may be off by its own error and half of one. */
static void large_loads_are_as_simulated(void **state)
{
	(void)state;
	static const struct {
		double rho, ratio;
	} known[] = {{100, 0.5394}, {1000, 0.535}};
	for (int i = 0; i < 2; i++) {
		struct purdom_stigler result = measure("binary", known[i].rho, 30000 * (i + 1), 10);
		double root = sqrt(known[i].rho);
		assert_near(result.available / root, known[i].ratio, result.available_error / root + 0.0005);
		assert_near(result.identity, 1, result.identity_error);
		/* An error so large that anything passes is no measurement. */
		assert_true(result.available_error < 0.02 * result.available);
	}
}

static void bad_measurements_are_refused(void **state)
{
	(void)state;
	struct purdom_stigler result;
	struct kml_error error;
	assert_false(purdom_stigler_measure("binary", 10, 1000, 1, &result, &error));
	assert_non_null(strstr(error.text, "two seeds"));
	assert_false(purdom_stigler_measure("binary", 10, 100, 2, &result, &error));
	assert_non_null(strstr(error.text, "too few arrivals"));
	assert_false(purdom_stigler_measure("binary", 0, 100, 2, &result, &error));
	assert_non_null(strstr(error.text, "rate"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equations_have_the_known_solution),
		cmocka_unit_test(binary_is_as_the_equations_say),
		cmocka_unit_test(large_loads_are_as_simulated),
		cmocka_unit_test(bad_measurements_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
