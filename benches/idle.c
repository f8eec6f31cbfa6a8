/* idle HOST:PORT PUBLISHERS SECONDS: what publishers of ackbus cost that have nothing to do.
 *
 * Connects them, publishes one message with each, waits, and prints what each took while nothing happened: how often one of its threads woke, CPU, and memory. */
#define _GNU_SOURCE

#include "bench.h"

#include <ackbus.h>

enum { MOST = 10000 };

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data, (void)reports, (void)count, (void)stride;
}

static void check(const char *what, ackbus_status status, ackbus_error *error)
{
    if (status == ACKBUS_OK)
        return;
    ackbus_str text = ackbus_error_message(error);
    fprintf(stderr, "idle: %s: %s: %.*s\n", what, ackbus_status_name(status), (int)text.len, text.data != NULL ? text.data : "");
    exit(1);
}

static ackbus_config *configure(const char *address)
{
    char servers[256];
    ackbus_error *error = NULL;
    ackbus_config *config = ackbus_config_new();
    snprintf(servers, sizeof servers, "nats://%s", address);
    check("servers", ackbus_config_set(config, "servers", servers, &error), error);
    check("on_reports", ackbus_config_on_reports(config, on_reports, NULL, NULL, &error), error);
    return config;
}

/* A publisher has a socket and a few descriptors besides. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static ackbus_publisher *publishers[MOST];
    if (argc != 4) {
        fprintf(stderr, "usage: idle HOST:PORT PUBLISHERS SECONDS\n");
        return 2;
    }
    uint64_t count = bench_number("PUBLISHERS", argv[2], 1), seconds = bench_number("SECONDS", argv[3], 1);
    if (count > MOST)
        bench_refuse("PUBLISHERS", argv[2], "1 to 10000");
    allow_descriptors();
    ackbus_config *config = configure(argv[1]);
    uint64_t rss = bench_status_kb("VmRSS:"), began = bench_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        ackbus_error *error = NULL;
        check("connect", ackbus_publisher_connect(config, &publishers[i], &error), error);
        check("publish", ackbus_publisher_publish(publishers[i], "bench.idle", 10, "x", 1, 0, NULL, &error), error);
        check("flush", ackbus_publisher_flush(publishers[i], BENCH_FLUSH_MS, &error), error);
    }
    double connect_ms = (double)(bench_now_ns() - began) / 1e6 / (double)count;
    uint64_t threads = bench_status_kb("Threads:");
    rss = bench_status_kb("VmRSS:") - rss;

    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    struct timespec rest = {(time_t)seconds, 0};
    nanosleep(&rest, NULL);
    getrusage(RUSAGE_SELF, &after);
    double each = (double)count * (double)seconds;
    /* The one switch of this thread's own sleep is left out. */
    printf("publishers=%llu wakeups_per_s=%.3f cpu_us_per_s=%.2f rss_kb_each=%.1f threads_each=%.2f connect_ms=%.3f\n", (unsigned long long)count,
           (double)(after.ru_nvcsw - before.ru_nvcsw - 1) / each, (bench_cpu_seconds(&after) - bench_cpu_seconds(&before)) * 1e6 / each, (double)rss / (double)count,
           (double)(threads - 1) / (double)count, connect_ms);
    fflush(stdout);
    for (uint64_t i = 0; i < count; i++) {
        ackbus_error *error = NULL;
        check("close", ackbus_publisher_close(publishers[i], -1, &error), error);
        ackbus_publisher_free(publishers[i]);
    }
    ackbus_config_free(config);
    return 0;
}
