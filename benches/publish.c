/* publish: ackbus through its C API, a report for every message.
 *
 *   publish HOST:PORT SUBJECT N SIZE WINDOW [--mode MODE] [--threads T] [--rate R] [--latencies FILE] [--no-msg-id] [--hold] [--connections C]
 *
 * MODE says how messages go in and outcomes come back: callback; poll (a thread polls and counts); batch (publish_batch) and packed (publish_packed), both with
 * callbacks; wait (publish_wait: each publishing thread waits for each of its messages). README.md has the contract of all clients.
 * With --connections, which needs the mode callback, messages go in turn to SUBJECT.0 to SUBJECT.15: one topic has one connection. */
#define _GNU_SOURCE

#include "bench.h"

#include <ackbus.h>

#include <pthread.h>

enum { BATCH = 64, POLL_MAX = 1024, TOPICS = 16 };

static const char *const MODES[] = {"callback", "poll", "batch", "packed", "wait", NULL};

/* Written by the one thread that gets reports; read after flush, when every callback has returned, or when the poller has ended. With wait: by atomic adds. */
struct outcome {
    uint64_t acked, failed;
    uint64_t *latencies;
    const struct bench_pacer *pacer;
};

struct worker {
    pthread_t thread;
    const ackbus_publisher *publisher;
    const struct bench_load *load;
    const char *payload;
    struct outcome *outcome;
    struct bench_pacer *pacer;
    uint64_t count, refused;
};

static void complain(const char *what, ackbus_status status, ackbus_error *error)
{
    ackbus_str text = ackbus_error_message(error);
    fprintf(stderr, "publish: %s: %s: %.*s\n", what, ackbus_status_name(status), (int)text.len, text.data != NULL ? text.data : "");
    ackbus_error_free(error);
}

static void count_report(struct outcome *outcome, const ackbus_report *report)
{
    if (report->persistence != ACKBUS_PERSISTED) {
        if (outcome->failed++ == 0)
            fprintf(stderr, "publish: the first failure: %s: %.*s\n", ackbus_status_name(report->status), (int)report->text.len, report->text.data);
        return;
    }
    outcome->acked++;
    if (outcome->latencies != NULL)
        outcome->latencies[report->tag] = bench_latency_ns(outcome->pacer, report->tag);
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++)
        count_report(user_data, (const ackbus_report *)((const char *)reports + i * stride));
}

/* ---- ways to publish ---- */

static ackbus_status publish_in_turn(struct worker *worker, uint64_t *done, ackbus_error **error)
{
    const struct bench_load *load = worker->load;
    char topic[256];
    int len = snprintf(topic, sizeof topic, "%s.%u", load->subject, (unsigned)(*done % TOPICS));
    ackbus_status status = ackbus_publisher_publish(worker->publisher, topic, (size_t)len, worker->payload, load->size, *done, NULL, error);
    *done += status == ACKBUS_OK;
    return status;
}

static ackbus_status publish_one(struct worker *worker, uint64_t *done, ackbus_error **error)
{
    const struct bench_load *load = worker->load;
    ackbus_status status = ackbus_publisher_publish(worker->publisher, load->subject, strlen(load->subject), worker->payload, load->size, *done, NULL, error);
    *done += status == ACKBUS_OK;
    return status;
}

static size_t batch_size(const struct worker *worker, uint64_t done)
{
    uint64_t left = worker->count - done;
    return left < BATCH ? (size_t)left : BATCH;
}

static ackbus_status publish_batch(struct worker *worker, uint64_t *done, ackbus_error **error)
{
    const struct bench_load *load = worker->load;
    ackbus_message messages[BATCH];
    size_t count = batch_size(worker, *done), accepted = 0;
    for (size_t i = 0; i < count; i++) {
        messages[i] = (ackbus_message)ACKBUS_MESSAGE_INIT;
        messages[i].topic = (ackbus_str){load->subject, strlen(load->subject)};
        messages[i].payload = worker->payload;
        messages[i].payload_len = load->size;
        messages[i].tag = *done + i;
    }
    ackbus_status status = ackbus_publisher_publish_batch(worker->publisher, messages, count, NULL, &accepted, error);
    *done += accepted;
    return status;
}

/* The slab is the subject and behind it the payload: all messages are made of the same bytes. */
static ackbus_status publish_packed(struct worker *worker, uint64_t *done, ackbus_error **error)
{
    const struct bench_load *load = worker->load;
    ackbus_packed messages[BATCH];
    size_t subject_len = strlen(load->subject), count = batch_size(worker, *done), accepted = 0;
    memset(messages, 0, count * sizeof messages[0]);
    for (size_t i = 0; i < count; i++) {
        messages[i].topic = (ackbus_span){0, (uint32_t)subject_len};
        messages[i].payload = (ackbus_span){(uint32_t)subject_len, (uint32_t)load->size};
        messages[i].tag = *done + i;
    }
    const uint8_t *slab = (const uint8_t *)worker->payload - subject_len;
    ackbus_status status =
        ackbus_publisher_publish_packed(worker->publisher, messages, count, sizeof messages[0], slab, subject_len + load->size, NULL, &accepted, error);
    *done += accepted;
    return status;
}

static ackbus_status publish_wait(struct worker *worker, uint64_t *done, ackbus_error **error)
{
    ackbus_message message = ACKBUS_MESSAGE_INIT;
    message.topic = (ackbus_str){worker->load->subject, strlen(worker->load->subject)};
    message.payload = worker->payload;
    message.payload_len = worker->load->size;
    ackbus_status status = ackbus_publisher_publish_wait(worker->publisher, &message, BENCH_FLUSH_MS, NULL, error);
    if (status == ACKBUS_OK) {
        __atomic_fetch_add(&worker->outcome->acked, 1, __ATOMIC_RELAXED);
        ++*done;
    }
    return status;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    const char *mode = worker->load->mode;
    ackbus_status (*step)(struct worker *, uint64_t *, ackbus_error **) = strcmp(mode, "batch") == 0    ? publish_batch
                                                                         : strcmp(mode, "packed") == 0 ? publish_packed
                                                                         : strcmp(mode, "wait") == 0   ? publish_wait
                                                         : worker->load->connections > 0 ? publish_in_turn
                                                                                                       : publish_one;
    if (worker->load->rate > 0)
        *worker->pacer = bench_pacer_start(worker->load->rate);
    for (uint64_t done = 0; done < worker->count;) {
        if (worker->load->rate > 0)
            bench_pace(worker->pacer, done);
        ackbus_error *error = NULL;
        ackbus_status status = step(worker, &done, &error);
        if (status != ACKBUS_OK) {
            /* Nothing here may be refused: the rest would only repeat it. */
            complain("publish", status, error);
            worker->refused = worker->count - done;
            break;
        }
    }
    return NULL;
}

/* ---- the run ---- */

struct poller {
    pthread_t thread;
    const ackbus_publisher *publisher;
    struct outcome *outcome;
    uint64_t wanted;
};

/* In poll mode nobody else gets the reports. A batch that is empty means that nothing came in time: the run is over then. */
static void *poll_reports(void *argument)
{
    struct poller *poller = argument;
    size_t count = 1, stride;
    for (uint64_t seen = 0; seen < poller->wanted && count > 0; seen += count) {
        ackbus_reports *batch = NULL;
        ackbus_error *error = NULL;
        ackbus_status status = ackbus_publisher_poll(poller->publisher, POLL_MAX, BENCH_FLUSH_MS, &batch, &error);
        if (status != ACKBUS_OK)
            complain("poll", status, error);
        const ackbus_report *reports = ackbus_reports_data(batch, &count, &stride);
        on_reports(poller->outcome, reports, count, stride);
        ackbus_reports_free(batch);
    }
    return NULL;
}

static ackbus_publisher *connect_to(const struct bench_load *load, struct outcome *outcome)
{
    char servers[256], window[32], connections[32];
    snprintf(servers, sizeof servers, "nats://%s", load->address);
    snprintf(window, sizeof window, "%llu", (unsigned long long)load->window);
    snprintf(connections, sizeof connections, "%u", load->connections > 0 ? load->connections : 1);
    const char *const options[][2] = {
        {"servers", servers},
        {"max_pending", window},
        {"report", "all"},
        {"connections", connections},
        {"msg_id", load->msg_id ? "auto" : "none"},
    };
    ackbus_config *config = ackbus_config_new();
    ackbus_publisher *publisher = NULL;
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_check_abi();
    for (size_t i = 0; status == ACKBUS_OK && i < sizeof options / sizeof options[0]; i++)
        status = ackbus_config_set(config, options[i][0], options[i][1], &error);
    if (status == ACKBUS_OK && strcmp(load->mode, "poll") != 0)
        status = ackbus_config_on_reports(config, on_reports, outcome, NULL, &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_connect(config, &publisher, &error);
    if (status != ACKBUS_OK)
        complain("connect", status, error);
    ackbus_config_free(config);
    return publisher;
}

static void begin(pthread_t *thread, void *(*body)(void *), void *argument)
{
    if (pthread_create(thread, NULL, body, argument) != 0) {
        fprintf(stderr, "publish: the system gives no further thread\n");
        exit(1);
    }
}

/* Shares the messages out among the threads and waits for their acks. The messages that publish refused. */
static uint64_t run(const ackbus_publisher *publisher, const struct bench_load *load, const char *payload, struct outcome *outcome, struct bench_pacer *pacer)
{
    struct worker workers[BENCH_MAX_THREADS];
    struct poller poller = {.publisher = publisher, .outcome = outcome, .wanted = load->count};
    bool polls = strcmp(load->mode, "poll") == 0;
    uint64_t refused = 0;
    for (unsigned i = 0; i < load->threads; i++) {
        uint64_t share = load->count / load->threads + (i < load->count % load->threads);
        workers[i] = (struct worker){.publisher = publisher, .load = load, .payload = payload, .outcome = outcome, .pacer = pacer, .count = share};
        begin(&workers[i].thread, work, &workers[i]);
    }
    if (polls && !load->hold)
        begin(&poller.thread, poll_reports, &poller);
    for (unsigned i = 0; i < load->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        refused += workers[i].refused;
    }
    if (load->hold)
        return refused;
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_flush(publisher, BENCH_FLUSH_MS, &error);
    if (status != ACKBUS_OK)
        complain("flush", status, error);
    if (polls)
        pthread_join(poller.thread, NULL);
    return refused;
}

int main(int argc, char **argv)
{
    struct bench_load load = bench_parse(argc, argv, MODES);
    if (load.rate > 0 && strcmp(load.mode, "callback") != 0 && strcmp(load.mode, "poll") != 0)
        bench_refuse("MODE", load.mode, "callback or poll with --rate: the others do not publish a message when it is due");
    if (load.connections > 0 && strcmp(load.mode, "callback") != 0)
        bench_refuse("MODE", load.mode, "callback with --connections");
    struct bench_pacer pacer = {0};
    struct outcome outcome = {.latencies = bench_latencies_new(&load), .pacer = &pacer};
    ackbus_publisher *publisher = connect_to(&load, &outcome);
    size_t subject_len = strlen(load.subject);
    char *slab = malloc(subject_len + load.size + 1);
    if (publisher == NULL || slab == NULL)
        return 1;
    memcpy(slab, load.subject, subject_len);
    memset(slab + subject_len, 'x', load.size);

    struct bench_watch watch = bench_start();
    uint64_t refused = run(publisher, &load, slab + subject_len, &outcome, &pacer);
    bench_stop(&watch, &load, outcome.acked, outcome.failed + refused);
    if (load.hold)
        _exit(refused == 0 ? 0 : 1); /* nobody acks: a close would wait for that */

    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_close(publisher, -1, &error);
    if (status != ACKBUS_OK)
        complain("close", status, error);
    ackbus_publisher_free(publisher);
    free(slab);
    bench_latencies_write(&load, outcome.latencies);
    return outcome.acked == load.count ? 0 : 1;
}
