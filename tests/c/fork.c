/* P8: in a child of a process that had connected every call returns FORKED and nothing hangs, though other threads held locks at the fork; the parent goes on. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 40, HANGS_AFTER_S = 20 };

static atomic_bool stop;

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)reports, (void)stride;
    *(_Atomic uint64_t *)user_data += count;
}

static void *publish_until_stopped(void *bus)
{
    while (!stop)
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    return NULL;
}

static void wait_for_child(pid_t child)
{
    int status = -1;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Nothing has connected yet: the child is as good as any process. */
static void fork_before_connect(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(HANGS_AFTER_S);
        ackbus_publisher *bus = connect_and_free(memory_config(NULL));
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
        IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
        IS(ACKBUS_OK, ackbus_publisher_free(bus));
        exit(0);
    }
    wait_for_child(child);
}

static void be_the_child(ackbus_publisher *bus, ackbus_publisher *polled, ackbus_reports *batch)
{
    alarm(HANGS_AFTER_S);
    ackbus_message message = message_of("orders.created", "{}");
    ackbus_reports *reports = NULL;
    ackbus_events *events = NULL;
    ackbus_publisher *another = NULL;
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_info info = ACKBUS_INFO_INIT;
    size_t accepted = 7;
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_publish(bus, "orders.created", 14, "{}", 2, 0, NULL, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_publish_batch(bus, &message, 1, NULL, &accepted, &error));
    CHECK(accepted == 0);
    const ackbus_packed packed = {.topic = {0, 1}};
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_publish_packed(bus, &packed, 1, sizeof packed, (const uint8_t *)"a", 1, NULL, &accepted, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_callback_enter(batch, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_callback_enter(NULL, &error));
    ackbus_callback_leave();
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_publish_wait(bus, &message, -1, &reports, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_poll(polled, 1, -1, &reports, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_poll_events(polled, 1, -1, &events, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_flush(bus, -1, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_close(bus, -1, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_wait_connected(bus, -1, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_set_topic(bus, "orders.>", "stream", "ORDERS", &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_purge(bus, ACKBUS_PURGE_UNSENT, NULL, &error));
    IS(ACKBUS_ERR_FORKED, ackbus_publisher_stats(bus, &stats));
    IS(ACKBUS_ERR_FORKED, ackbus_publisher_info(bus, &info));
    char text[8] = "before";
    size_t len = 7;
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_metrics(bus, text, sizeof text, &len, &error));
    ERR(ACKBUS_ERR_FORKED, ackbus_metrics((const ackbus_publisher *const *)&bus, 1, text, sizeof text, &len, &error));
    CHECK(len == 7 && strcmp(text, "before") == 0);
    CHECK(ackbus_publisher_pending(bus) == 0 && ackbus_publisher_pending_bytes(bus) == 0 && ackbus_publisher_wake_fd(polled) == -1);

    /* Pure functions work. */
    ackbus_config *config = memory_config(NULL);
    CHECK(strcmp(ackbus_status_name(ACKBUS_ERR_FORKED), "FORKED") == 0 && ackbus_config_key(0) != NULL);
    ERR(ACKBUS_ERR_FORKED, ackbus_publisher_connect(config, &another, &error));
    ackbus_config_free(config);
    size_t count = 0, stride = 0;
    CHECK(ackbus_reports_data(batch, &count, &stride) != NULL && count == 1);

    /* These leak. */
    ackbus_reports_free(batch);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    IS(ACKBUS_OK, ackbus_publisher_free(polled));
    exit(0); /* with everything that runs at exit */
}

int main(void)
{
    fork_before_connect();

    _Atomic uint64_t reported = 0;
    ackbus_config *config = memory_config(OPTIONS("report", "all", "max_pending", "64"));
    IS(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, &reported, NULL, NULL));
    ackbus_publisher *bus = connect_and_free(config);
    ackbus_publisher *polled = connect_and_free(memory_config(OPTIONS("report", "all")));
    ackbus_reports *batch = NULL;
    IS(ACKBUS_OK, publish_text(polled, "orders.created", "{}"));
    IS(ACKBUS_OK, ackbus_publisher_poll(polled, 1, -1, &batch, NULL));

    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, publish_until_stopped, bus) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0)
            be_the_child(bus, polled, batch);
        wait_for_child(child);
    }
    stop = true;
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);

    IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    ackbus_stats stats = ACKBUS_STATS_INIT;
    IS(ACKBUS_OK, ackbus_publisher_stats(bus, &stats));
    CHECK(stats.accepted > 0 && stats.published == stats.accepted && reported == stats.accepted);
    ackbus_reports_free(batch);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    IS(ACKBUS_OK, ackbus_publisher_free(polled));
    return 0;
}
