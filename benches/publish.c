/* publish: ackbus through its C API, a report for every message.
 *
 *   publish HOST:PORT SUBJECT N SIZE WINDOW [--threads T] [--no-msg-id]
 *
 * Prints the same line as the other clients of the benchmark; see run.sh. */
#define _POSIX_C_SOURCE 200809L

#include <ackbus.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_THREADS = 64, FLUSH_MS = 60000 };

struct load {
    const char *address, *subject, *window;
    uint64_t count;
    size_t size;
    unsigned threads;
    bool msg_id;
};

/* Written by the one report thread; read after flush, when every callback has returned. */
struct outcome {
    uint64_t acked, failed;
};

struct worker {
    pthread_t thread;
    const ackbus_publisher *publisher;
    const struct load *load;
    const void *payload;
    uint64_t count, refused;
};

static void complain(const char *what, ackbus_status status, ackbus_error *error)
{
    ackbus_str text = ackbus_error_message(error);
    fprintf(stderr, "publish: %s: %s: %.*s\n", what, ackbus_status_name(status), (int)text.len, text.data != NULL ? text.data : "");
    ackbus_error_free(error);
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    struct outcome *outcome = user_data;
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = (const ackbus_report *)((const char *)reports + i * stride);
        if (report->persistence == ACKBUS_PERSISTED)
            outcome->acked++;
        else if (outcome->failed++ == 0)
            fprintf(stderr, "publish: the first failure: %s: %.*s\n", ackbus_status_name(report->status), (int)report->text.len, report->text.data);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    const struct load *load = worker->load;
    size_t subject_len = strlen(load->subject);
    for (uint64_t i = 0; i < worker->count; i++) {
        ackbus_error *error = NULL;
        ackbus_status status = ackbus_publisher_publish(worker->publisher, load->subject, subject_len, worker->payload, load->size, i, NULL, &error);
        if (status != ACKBUS_OK) {
            /* Nothing here may be refused: the rest would only repeat it. */
            complain("publish", status, error);
            worker->refused = worker->count - i;
            break;
        }
    }
    return NULL;
}

static double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* User and system time of the whole process: the library's threads included. */
static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t number(const char *name, const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        fprintf(stderr, "publish: %s is \"%s\"; allowed: a decimal number\n", name, text);
        exit(2);
    }
    return value;
}

static struct load parse(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: publish HOST:PORT SUBJECT N SIZE WINDOW [--threads T] [--no-msg-id]\n");
        exit(2);
    }
    struct load load = {.address = argv[1], .subject = argv[2], .window = argv[5], .threads = 1, .msg_id = true};
    load.count = number("N", argv[3]);
    load.size = (size_t)number("SIZE", argv[4]);
    number("WINDOW", argv[5]);
    for (int i = 6; i < argc; i++) {
        if (strcmp(argv[i], "--no-msg-id") == 0) {
            load.msg_id = false;
        } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            uint64_t threads = number("T", argv[++i]);
            if (threads < 1 || threads > MAX_THREADS) {
                fprintf(stderr, "publish: T is %s; allowed: 1 to %d\n", argv[i], MAX_THREADS);
                exit(2);
            }
            load.threads = (unsigned)threads;
        } else {
            fprintf(stderr, "publish: unknown option %s; allowed: --threads T, --no-msg-id\n", argv[i]);
            exit(2);
        }
    }
    if (load.count == 0) {
        fprintf(stderr, "publish: N is 0; allowed: at least 1\n");
        exit(2);
    }
    return load;
}

static ackbus_publisher *connect_to(const struct load *load, struct outcome *outcome)
{
    char servers[256];
    snprintf(servers, sizeof servers, "nats://%s", load->address);
    const char *const options[][2] = {
        {"servers", servers},
        {"max_pending", load->window},
        {"report", "all"},
        {"msg_id", load->msg_id ? "auto" : "none"},
    };
    ackbus_config *config = ackbus_config_new();
    ackbus_publisher *publisher = NULL;
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_check_abi();
    for (size_t i = 0; status == ACKBUS_OK && i < sizeof options / sizeof options[0]; i++)
        status = ackbus_config_set(config, options[i][0], options[i][1], &error);
    if (status == ACKBUS_OK)
        status = ackbus_config_on_reports(config, on_reports, outcome, NULL, &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_connect(config, &publisher, &error);
    if (status != ACKBUS_OK)
        complain("connect", status, error);
    ackbus_config_free(config);
    return publisher;
}

/* Shares the messages out among the threads and waits for their acks. The messages that publish refused. */
static uint64_t run(const ackbus_publisher *publisher, const struct load *load, const void *payload)
{
    struct worker workers[MAX_THREADS];
    uint64_t refused = 0;
    for (unsigned i = 0; i < load->threads; i++) {
        uint64_t share = load->count / load->threads + (i < load->count % load->threads);
        workers[i] = (struct worker){.publisher = publisher, .load = load, .payload = payload, .count = share};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            fprintf(stderr, "publish: the system gives no thread %u\n", i + 1);
            exit(1);
        }
    }
    for (unsigned i = 0; i < load->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        refused += workers[i].refused;
    }
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_flush(publisher, FLUSH_MS, &error);
    if (status != ACKBUS_OK)
        complain("flush", status, error);
    return refused;
}

int main(int argc, char **argv)
{
    struct load load = parse(argc, argv);
    struct outcome outcome = {0, 0};
    ackbus_publisher *publisher = connect_to(&load, &outcome);
    char *payload = malloc(load.size + 1);
    if (publisher == NULL || payload == NULL)
        return 1;
    memset(payload, 'x', load.size);

    double wall = wall_seconds(), cpu = cpu_seconds();
    uint64_t refused = run(publisher, &load, payload);
    wall = wall_seconds() - wall;
    cpu = cpu_seconds() - cpu;

    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_close(publisher, -1, &error);
    if (status != ACKBUS_OK)
        complain("close", status, error);
    ackbus_publisher_free(publisher);
    free(payload);

    char client[32] = "ackbus-c";
    if (load.threads > 1)
        snprintf(client, sizeof client, "ackbus-c/%u-threads", load.threads);
    printf("client=%s msg_id=%s n=%llu size=%zu window=%s acked=%llu failed=%llu msgs_per_s=%.0f cpu_us_per_msg=%.3f\n", client, load.msg_id ? "yes" : "no",
           (unsigned long long)load.count, load.size, load.window, (unsigned long long)outcome.acked, (unsigned long long)(outcome.failed + refused),
           (double)outcome.acked / wall, cpu * 1e6 / (double)load.count);
    return outcome.acked == load.count ? 0 : 1;
}
