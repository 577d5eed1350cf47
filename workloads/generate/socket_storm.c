/*
 * socket_storm.c - TCP connections in waves: opened as a whole, used, closed in another order.
 *
 * Each end of a connection is a socket with its inode, a TCP control block, a file, a dentry and labels; the handshake
 * needs a request_sock for a moment, each message a packet: an skbuff_head and a small head, freed on the cpu that
 * received it. A closed connection leaves a tw_sock for `linger` seconds (net/ipv4/tcp_minisocks.c: 60; less by
 * default, so that the waves are not a dash at the edge of a figure); the inode of a socket goes after a grace period
 * of RCU, some tens of milliseconds later (net/socket.c). Objects a connection as in traces/sockets.kmt.
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/kernel_caches.h"

static const uint64_t CONNECT_NS = 60000, MESSAGE_NS = 4000; /* as in traces/sockets.kmt */
static const uint64_t GRACE_NS = 20000000;

enum { ENDS = 2, OWNED = 6 }; /* objects that an end owns until it is closed */

struct connection {
	generate_id owned[ENDS][OWNED];
};

struct socket_storm_config {
	struct generate_common common;
	uint64_t connections, waves, messages;
	double linger;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "connections",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct socket_storm_config, connections),
	 .default_text = "1500",
	 .minimum = 1,
	 .maximum = 1 << 22,
	 .help = "open at once"},
	{.name = "waves",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct socket_storm_config, waves),
	 .default_text = "4",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "how often they are all opened and closed"},
	{.name = "messages",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct socket_storm_config, messages),
	 .default_text = "4",
	 .maximum = 1 << 20,
	 .help = "on each connection"},
	{.name = "linger",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct socket_storm_config, linger),
	 .default_text = "1",
	 .maximum = 3600,
	 .help = "seconds that a closed connection is remembered (TIME_WAIT; 60 in Linux)"},
	{0},
};

enum phase { OPEN, USE, CLOSE };

struct socket_storm {
	const struct socket_storm_config *config;
	struct connection *connections;
	uint64_t *order; /* in which they are closed */
	enum phase phase;
	uint64_t next, wave; /* connection of the phase, or message of all */
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct socket_storm *storm = state;
	storm->config = config;
	storm->connections = calloc(storm->config->connections, sizeof *storm->connections);
	storm->order = calloc(storm->config->connections, sizeof *storm->order);
	kernel_caches_tell(generate);
	if (storm->connections && storm->order)
		return true;
	free(storm->connections);
	free(storm->order);
	return kml_fail(error, "socket_storm: connections: no memory for %llu: ask for fewer",
			(unsigned long long)storm->config->connections);
}

static void end(void *state)
{
	struct socket_storm *storm = state;
	free(storm->connections);
	free(storm->order);
}

static void open_connection(struct generate *generate, struct socket_storm *storm)
{
	static const enum kernel_cache caches[OWNED] = {KERNEL_SOCK_INODE, KERNEL_LSM_INODE, KERNEL_DENTRY,
							KERNEL_FILP,       KERNEL_LSM_FILE,  KERNEL_TCP};
	struct connection *connection = &storm->connections[storm->next];
	generate_advance_to(generate, generate_now(generate) + CONNECT_NS);
	uint16_t cpu = generate_cpu(generate);
	generate_id request = kernel_alloc(generate, KERNEL_REQUEST_SOCK_TCP, cpu);
	for (int side = 0; side < ENDS; side++)
		for (int i = 0; i < OWNED; i++)
			connection->owned[side][i] = kernel_alloc(generate, caches[i], cpu);
	generate_free_at(generate, request, cpu, generate_now(generate) + GRACE_NS);
}

static void send_message(struct generate *generate)
{
	generate_advance_to(generate, generate_now(generate) + MESSAGE_NS);
	uint16_t sender = generate_cpu(generate), receiver = generate_cpu(generate);
	generate_id head = kernel_alloc(generate, KERNEL_SKBUFF_HEAD, sender);
	generate_id data = kernel_alloc(generate, KERNEL_SKBUFF_SMALL_HEAD, sender);
	uint64_t read_ns = generate_now(generate) + (uint64_t)generate_exponential(generate, 10.0 * MESSAGE_NS);
	generate_free_at(generate, data, receiver, read_ns);
	generate_free_at(generate, head, receiver, read_ns);
}

static void close_connection(struct generate *generate, struct socket_storm *storm)
{
	struct connection *connection = &storm->connections[storm->order[storm->next]];
	generate_advance_to(generate, generate_now(generate) + CONNECT_NS / 2);
	uint64_t now_ns = generate_now(generate);
	uint16_t cpu = generate_cpu(generate);
	generate_id memory = kernel_alloc(generate, KERNEL_TW_SOCK_TCP, cpu);
	generate_free_at(generate, memory, cpu, now_ns + (uint64_t)(storm->config->linger * 1e9));
	for (int side = 0; side < ENDS; side++) {
		generate_free_at(generate, connection->owned[side][0], cpu, now_ns + GRACE_NS);
		for (int i = 1; i < OWNED; i++)
			generate_free(generate, connection->owned[side][i], cpu);
	}
}

/* Fisher & Yates. */
static void shuffle(struct generate *generate, struct socket_storm *storm)
{
	for (uint64_t i = 0; i < storm->config->connections; i++) {
		uint64_t other = generate_below(generate, i + 1);
		storm->order[i] = storm->order[other];
		storm->order[other] = i;
	}
}

static bool next_phase(struct generate *generate, struct socket_storm *storm)
{
	storm->next = 0;
	storm->phase = storm->phase == CLOSE ? OPEN : storm->phase + 1;
	if (storm->phase == CLOSE)
		shuffle(generate, storm);
	if (storm->phase != OPEN || ++storm->wave < storm->config->waves)
		return true;
	while (generate_advance_to_death(generate))
		;
	return false;
}

static bool step(struct generate *generate, void *state)
{
	static const char *const names[] = {"open", "use", "close"};
	struct socket_storm *storm = state;
	uint64_t steps = storm->config->connections * (storm->phase == USE ? storm->config->messages : 1);
	if (storm->next == steps)
		return next_phase(generate, storm);
	if (storm->next == 0)
		generate_mark(generate, names[storm->phase]);
	if (storm->phase == OPEN)
		open_connection(generate, storm);
	else if (storm->phase == USE)
		send_message(generate);
	else
		close_connection(generate, storm);
	storm->next++;
	return true;
}

const struct generator generator_socket_storm = {
	.name = "socket_storm",
	.title = "TCP connections in waves",
	.citation =
		"net/socket.c, net/ipv4/tcp_minisocks.c; objects a connection as in traces/sockets.kmt (Linux 6.18)",
	.summary = "twelve objects a connection, two a message; closed in another order, inodes a grace period later",
	.params = params,
	.config_bytes = sizeof(struct socket_storm_config),
	.state_bytes = sizeof(struct socket_storm),
	.start = start,
	.step = step,
	.end = end,
};
