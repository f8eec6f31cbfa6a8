/* Handlers of the program's own: ackbus_callback_enter gives a polling thread the rules and the places of a callback (P3, P5). */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* Every place is taken by a message that nobody settles; failures are made by purging them. */
static ackbus_publisher *full_window(const char *max_pending, uint64_t count)
{
    ackbus_config *config = ackbus_config_new();
    ERR(ACKBUS_OK, ackbus_config_set(config, "servers", "nats://127.0.0.1:1", &error));
    ERR(ACKBUS_OK, ackbus_config_set(config, "retry_on_connect", "true", &error));
    ERR(ACKBUS_OK, ackbus_config_set(config, "on_full", "fail", &error));
    ERR(ACKBUS_OK, ackbus_config_set(config, "max_pending", max_pending, &error));
    ackbus_publisher *bus = connect_and_free(config);
    for (uint64_t i = 0; i < count; i++)
        IS(ACKBUS_OK, publish_text(bus, "a", "x"));
    IS(ACKBUS_ERR_QUEUE_FULL, publish_text(bus, "a", "x"));
    return bus;
}

/* Purges, and polls the reports of what was pending. */
static ackbus_reports *failures(ackbus_publisher *bus, uint64_t expected)
{
    uint64_t purged = 0;
    size_t count = 0;
    ackbus_reports *reports = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_purge(bus, ACKBUS_PURGE_UNSENT | ACKBUS_PURGE_IN_FLIGHT, &purged, &error));
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 100, 60000, &reports, &error));
    ackbus_reports_data(reports, &count, NULL);
    CHECK(purged == expected && count == expected);
    return reports;
}

static void the_places_are_the_handlers(void)
{
    ackbus_publisher *bus = full_window("4", 4);
    ackbus_reports *reports = failures(bus, 4);
    IS(ACKBUS_ERR_QUEUE_FULL, publish_text(bus, "a", "x")); /* they hold their places */
    CHECK(!ackbus_in_callback());
    ERR(ACKBUS_OK, ackbus_callback_enter(reports, &error));
    CHECK(ackbus_in_callback());
    for (int i = 0; i < 3; i++)
        IS(ACKBUS_OK, publish_text(bus, "dead", "x"));
    /* Its views are still there. */
    CHECK(strcmp(ackbus_reports_data(reports, NULL, NULL)->topic.data, "a") == 0);
    CHECK(ackbus_publisher_pending(bus) == 3);
    ackbus_callback_leave();
    CHECK(!ackbus_in_callback());
    IS(ACKBUS_OK, publish_text(bus, "a", "x")); /* the place that was not used */
    IS(ACKBUS_ERR_QUEUE_FULL, publish_text(bus, "a", "x"));
    ackbus_reports_free(reports);
    IS(ACKBUS_ERR_QUEUE_FULL, publish_text(bus, "a", "x")); /* freeing gives no place a second time */
    IS(ACKBUS_OK, ackbus_publisher_close(bus, 0, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void calls_that_wait_are_refused(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("max_pending", "1", "report", "all")));
    ackbus_reports *batch = NULL;
    for (int with_reports = 0; with_reports < 2; with_reports++) {
        if (with_reports) {
            IS(ACKBUS_OK, publish_text(bus, "a", "x"));
            ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 1, 60000, &batch, &error));
        }
        ERR(ACKBUS_OK, ackbus_callback_enter(batch, &error));
        ackbus_reports *other = NULL;
        uint64_t count = 0;
        ackbus_publisher *third = NULL;
        ackbus_message message = message_of("a", "x");
        ackbus_config *config = memory_config(NULL);
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_poll(bus, 1, 0, &other, &error));
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_flush(bus, 0, &error));
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_purge(bus, ACKBUS_PURGE_UNSENT, &count, &error));
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_close(bus, 0, &error));
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_publish_wait(bus, &message, 0, NULL, &error));
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_connect(config, &third, &error));
        IS(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_free(bus));
        ERR(ACKBUS_ERR_INVALID_STATE, ackbus_callback_enter(NULL, &error));
        ackbus_config_free(config);
        ackbus_callback_leave();
        ERR(ACKBUS_OK, ackbus_publisher_flush(bus, 60000, &error));
    }
    ERR(ACKBUS_ERR_INVALID_STATE, ackbus_callback_enter(batch, &error)); /* once for each batch */
    ackbus_callback_leave(); /* nothing to end */
    ackbus_reports_free(batch);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* A publish waits only outside: inside a handler without places it is refused at once, although on_full is block. */
static void a_handler_never_waits(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("max_pending", "1", "report", "all")));
    ackbus_reports *batch = NULL;
    IS(ACKBUS_OK, publish_text(bus, "a", "x"));
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 1, 60000, &batch, &error));
    IS(ACKBUS_OK, ackbus_callback_enter(NULL, NULL));
    IS(ACKBUS_ERR_QUEUE_FULL, publish_text(bus, "a", "x"));
    ackbus_callback_leave();
    /* A batch may be handled after its publisher was freed; then there is nobody to publish to. */
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    IS(ACKBUS_OK, ackbus_callback_enter(batch, NULL));
    ackbus_callback_leave();
    ackbus_reports_free(batch);
}

struct crowd {
    ackbus_publisher *bus;
    _Atomic int stop;
};

static void *take_every_place(void *data)
{
    struct crowd *crowd = data;
    while (!atomic_load(&crowd->stop))
        if (publish_text(crowd->bus, "a", "x") != ACKBUS_OK)
            sched_yield(); /* valgrind runs one thread at a time, and would run this one for ever */
    return NULL;
}

/* Others take every place the moment that it is free; the handler's are its own. */
static void others_cannot_take_them(void)
{
    struct crowd crowd = {full_window("2", 2), 0};
    pthread_t others[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&others[i], NULL, take_every_place, &crowd) == 0);
    for (int i = 0; i < 200; i++) {
        ackbus_reports *reports = NULL;
        size_t count = 0;
        ERR(ACKBUS_OK, ackbus_publisher_purge(crowd.bus, ACKBUS_PURGE_UNSENT, NULL, &error));
        ERR(ACKBUS_OK, ackbus_publisher_poll(crowd.bus, 100, 0, &reports, &error));
        ackbus_reports_data(reports, &count, NULL);
        if (count > 0) {
            IS(ACKBUS_OK, ackbus_callback_enter(reports, NULL));
            for (size_t k = 0; k < count; k++)
                IS(ACKBUS_OK, publish_text(crowd.bus, "dead", "x"));
            ackbus_callback_leave();
        }
        ackbus_reports_free(reports);
    }
    atomic_store(&crowd.stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(others[i], NULL);
    ackbus_stats stats = ACKBUS_STATS_INIT;
    IS(ACKBUS_OK, ackbus_publisher_stats(crowd.bus, &stats));
    CHECK(stats.pending_max <= 2);
    IS(ACKBUS_OK, ackbus_publisher_close(crowd.bus, 0, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(crowd.bus));
}

int main(void)
{
    the_places_are_the_handlers();
    calls_that_wait_are_refused();
    a_handler_never_waits();
    others_cannot_take_them();
    return 0;
}
