/* Many threads on one publisher: four publish, others read figures, flush and poll, one closes in the midst of it. Every accepted message gets exactly one report
   (P1), and the figures add up. For the plain run, AddressSanitizer, valgrind and ThreadSanitizer alike.

   Usage: threads [URL]; without one it publishes to memory. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { PUBLISHERS = 4, MESSAGES = 500, ROUNDS = 4 };

struct world {
    ackbus_publisher *bus;
    bool polled;
    atomic_uint_fast64_t accepted, reported;
    atomic_bool over;
    /* One place for each tag: no message may be reported twice. Only the thread that has the report writes it. */
    atomic_uchar seen[PUBLISHERS * MESSAGES + 1];
};

static void take(struct world *world, const ackbus_report *reports, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = ackbus_report_at(reports, stride, i);
        CHECK(report->topic.data[report->topic.len] == '\0' && report->payload_len == 8);
        uint64_t tag;
        memcpy(&tag, report->payload, 8);
        CHECK(tag == report->tag && tag >= 1 && tag <= PUBLISHERS * MESSAGES);
        CHECK((report->status == ACKBUS_OK) == (report->persistence == ACKBUS_PERSISTED));
        CHECK(atomic_fetch_add(&world->seen[tag], 1) == 0);
    }
    atomic_fetch_add(&world->reported, count);
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    struct world *world = user_data;
    take(world, reports, count, stride);
    /* From a callback publish never waits. Only a closed publisher refuses a dead letter (P3). */
    ackbus_status status = ackbus_publisher_publish(world->bus, "news.dead", 9, "", 0, 0, NULL, NULL);
    CHECK(status == ACKBUS_OK || status == ACKBUS_ERR_CLOSED);
}

static void on_event(void *user_data, const ackbus_event *event)
{
    struct world *world = user_data;
    CHECK(event->text.data[event->text.len] == '\0');
    CHECK(world != NULL);
}

struct publisher {
    struct world *world;
    uint64_t first;
};

static void *publish(void *argument)
{
    struct publisher *self = argument;
    for (uint64_t tag = self->first; tag < self->first + MESSAGES; tag++) {
        ackbus_error *error = NULL;
        ackbus_status status = ackbus_publisher_publish(self->world->bus, "threads.x", 9, &tag, 8, tag, NULL, &error);
        ackbus_error_free(error);
        if (status == ACKBUS_ERR_CLOSED)
            break;
        if (status == ACKBUS_ERR_QUEUE_FULL) {
            tag--;
            continue;
        }
        CHECK(status == ACKBUS_OK);
        atomic_fetch_add(&self->world->accepted, 1);
    }
    return NULL;
}

/* Figures and flushes, whatever the others do. */
static void *look(void *argument)
{
    struct world *world = argument;
    char *text = malloc(ACKBUS_METRICS_MAX);
    CHECK(text != NULL);
    while (!world->over) {
        ackbus_stats stats = ACKBUS_STATS_INIT;
        ackbus_info info = ACKBUS_INFO_INIT;
        IS(ACKBUS_OK, ackbus_publisher_stats(world->bus, &stats));
        IS(ACKBUS_OK, ackbus_publisher_info(world->bus, &info));
        CHECK(stats.accepted >= stats.published + stats.publish_errors);
        CHECK(ackbus_publisher_pending(world->bus) <= 64);
        ackbus_publisher_flush(world->bus, 1, NULL);
        ackbus_publisher_set_topic(world->bus, "other.>", "in_flight", "7", NULL);
        ERR(ACKBUS_OK, ackbus_publisher_metrics(world->bus, text, ACKBUS_METRICS_MAX, NULL, &error));
    }
    free(text);
    return NULL;
}

static void *poll_reports(void *argument)
{
    struct world *world = argument;
    for (;;) {
        ackbus_reports *reports = NULL;
        ackbus_status status = ackbus_publisher_poll(world->bus, 16, 1000, &reports, NULL);
        if (status == ACKBUS_ERR_CLOSED)
            return NULL;
        CHECK(status == ACKBUS_OK);
        size_t count, stride;
        const ackbus_report *first = ackbus_reports_data(reports, &count, &stride);
        take(world, first, count, stride);
        ackbus_reports_free(reports);
    }
}

static void run(const char *url, bool polled, bool close_early)
{
    struct world *world = calloc(1, sizeof *world);
    CHECK(world != NULL);
    world->polled = polled;
    ackbus_config *config = memory_config(OPTIONS("report", "all", "max_pending", "64", "log_level", "off"));
    if (url != NULL)
        ERR(ACKBUS_OK, ackbus_config_set(config, "servers", url, &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "threads.>", "stream", "THREADS", &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "threads.>", "create", "if_missing", &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "news.>", "mode", "ephemeral", &error));
    if (!polled) {
        ERR(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, world, NULL, &error));
        ERR(ACKBUS_OK, ackbus_config_on_event(config, on_event, world, NULL, &error));
    }
    ackbus_publisher *bus = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_connect(config, &bus, &error));
    ackbus_config_free(config);
    world->bus = bus;

    pthread_t publishers[PUBLISHERS], readers[2], pollers[2];
    struct publisher selves[PUBLISHERS];
    for (int i = 0; i < PUBLISHERS; i++) {
        selves[i] = (struct publisher){world, 1 + (uint64_t)i * MESSAGES};
        CHECK(pthread_create(&publishers[i], NULL, publish, &selves[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&readers[i], NULL, look, world) == 0);
        CHECK(!polled || pthread_create(&pollers[i], NULL, poll_reports, world) == 0);
    }
    if (close_early)
        while (world->accepted < MESSAGES)
            sched_yield();
    else
        for (int i = 0; i < PUBLISHERS; i++)
            pthread_join(publishers[i], NULL);
    ERR(ACKBUS_OK, ackbus_publisher_close(world->bus, 60000, &error));
    if (close_early)
        for (int i = 0; i < PUBLISHERS; i++)
            pthread_join(publishers[i], NULL);
    for (int i = 0; i < 2; i++)
        CHECK(!polled || pthread_join(pollers[i], NULL) == 0);
    world->over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);

    ackbus_stats stats = ACKBUS_STATS_INIT;
    IS(ACKBUS_OK, ackbus_publisher_stats(world->bus, &stats));
    CHECK(stats.accepted == world->accepted && stats.pending == 0);
    CHECK(world->reported == world->accepted);
    CHECK(close_early || world->accepted == PUBLISHERS * MESSAGES);
    IS(ACKBUS_OK, ackbus_publisher_free(world->bus));
    free(world);
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : NULL;
    for (int i = 0; i < ROUNDS; i++)
        run(url, i % 2 == 1, i >= 2);
    return 0;
}
