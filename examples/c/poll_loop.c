/* poll_loop [URL]: an event loop of the program's own, and no callback.
 *
 * Publishes orders and fetches their reports in one thread, with epoll on the publisher's wake fd. The window is small, so it is full most of the time: the
 * loop then stops publishing until the wake fd says that reports wait, whose places come back when they are freed, or that there is room. A loop that publishes to
 * several streams keeps what was refused, and tries all of it: what waits for a stream that is held (ackbus_error_held_by is not 0) must not stop the others. */
#include <ackbus.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ORDERS = 10000, BATCH = 256 };

struct loop {
    ackbus_publisher *bus;
    uint64_t published, persisted, failed, full;
};

/* Publishes until all is published or the window is full. */
static ackbus_status publish(struct loop *loop, ackbus_error **error)
{
    while (loop->published < ORDERS) {
        char payload[32];
        int len = snprintf(payload, sizeof payload, "{\"order\":%" PRIu64 "}", loop->published);
        ackbus_status status = ackbus_publisher_publish(loop->bus, "orders.created", 14, payload, (size_t)len, loop->published, NULL, error);
        if (status == ACKBUS_ERR_QUEUE_FULL) {
            ackbus_error_free(*error);
            *error = NULL;
            loop->full++;
            return ACKBUS_OK;
        }
        if (status != ACKBUS_OK)
            return status;
        loop->published++;
    }
    return ACKBUS_OK;
}

/* Fetches what is there, without waiting. */
static ackbus_status fetch(struct loop *loop, ackbus_error **error)
{
    ackbus_reports *batch = NULL;
    ackbus_status status = ackbus_publisher_poll(loop->bus, BATCH, 0, &batch, error);
    if (status != ACKBUS_OK)
        return status;
    size_t count, stride;
    const ackbus_report *reports = ackbus_reports_data(batch, &count, &stride);
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = ackbus_report_at(reports, stride, i);
        if (report->persistence == ACKBUS_PERSISTED)
            loop->persisted++;
        else if (loop->failed++ == 0)
            fprintf(stderr, "order %" PRIu64 ": %s: %s\n", report->tag, ackbus_status_name(report->status), report->text.data);
    }
    ackbus_reports_free(batch); /* gives the messages' places back */

    ackbus_events *events = NULL;
    status = ackbus_publisher_poll_events(loop->bus, BATCH, 0, &events, error);
    if (status != ACKBUS_OK)
        return status;
    const ackbus_event *first = ackbus_events_data(events, &count, &stride);
    for (size_t i = 0; i < count; i++) {
        const ackbus_event *event = ackbus_event_at(first, stride, i);
        fprintf(stderr, "%s %s %s\n", ackbus_event_kind_name(event->kind), event->server.data, event->text.data);
    }
    ackbus_events_free(events);
    return ACKBUS_OK;
}

static ackbus_status run(struct loop *loop, ackbus_error **error)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wake = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ackbus_publisher_wake_fd(loop->bus), &wake); /* a program adds its own descriptors here */
    ackbus_status status = publish(loop, error);
    while (status == ACKBUS_OK && loop->persisted + loop->failed < ORDERS) {
        struct epoll_event ready;
        if (epoll_wait(epoll, &ready, 1, -1) == 1) {
            status = fetch(loop, error);
            if (status == ACKBUS_OK)
                status = publish(loop, error);
        }
    }
    close(epoll);
    return status;
}

int main(int argc, char **argv)
{
    struct loop loop = {.bus = NULL};
    ackbus_error *error = NULL;
    ackbus_config *config = ackbus_config_new();
    ackbus_status status = ackbus_config_set(config, "servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222", &error);
    static const char *const options[][2] = {{"report", "all"}, {"on_full", "fail"}, {"max_pending", "512"}};
    for (size_t i = 0; status == ACKBUS_OK && i < sizeof options / sizeof options[0]; i++)
        status = ackbus_config_set(config, options[i][0], options[i][1], &error);
    static const char *const rules[][2] = {{"stream", "ORDERS"}, {"create", "if_missing"}};
    for (size_t i = 0; status == ACKBUS_OK && i < sizeof rules / sizeof rules[0]; i++)
        status = ackbus_config_set_topic(config, "orders.>", rules[i][0], rules[i][1], &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_connect(config, &loop.bus, &error);
    if (status == ACKBUS_OK)
        status = run(&loop, &error);
    if (status != ACKBUS_OK)
        fprintf(stderr, "poll_loop: %s: %s\n", ackbus_status_name(status), ackbus_error_message(error).data);
    printf("persisted %" PRIu64 ", failed %" PRIu64 "; the window was full %" PRIu64 " times\n", loop.persisted, loop.failed, loop.full);
    ackbus_error_free(error);
    ackbus_publisher_free(loop.bus);
    ackbus_config_free(config);
    return status == ACKBUS_OK && loop.persisted == ORDERS ? 0 : 1;
}
