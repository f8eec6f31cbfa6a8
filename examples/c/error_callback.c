/* error_callback [URL]: an error handler that logs, counts and dead-letters what failed.
 *
 * Publishes orders to two topics. No stream takes one of them, so half of the messages fail; each is published again, to a dead-letter topic, from inside the
 * callback. That always works: a callback may publish as many messages as it got reports, however full the window is. */
#include <ackbus.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { ORDERS = 1000 };

static const char DEAD_LETTERS[] = "dead.orders";

struct handler {
    /* The callback needs the publisher, and the publisher the config that has the callback: this is set after connect. */
    ackbus_publisher *_Atomic bus;
    /* Written by the report thread; read when the publisher is closed. */
    uint64_t failed, dead_lettered, lost;
};

static ackbus_status dead_letter(ackbus_publisher *bus, const ackbus_report *report)
{
    const bool proven = report->persistence == ACKBUS_NOT_PERSISTED;
    const ackbus_header headers[] = {
        {ackbus_str_of("X-Topic"), report->topic},
        {ackbus_str_of("X-Reason"), ackbus_str_of(ackbus_status_name(report->status))},
        {ackbus_str_of("X-Persisted"), ackbus_str_of(proven ? "no" : "possibly")}, /* whoever replays it must know whether a copy may exist */
    };
    ackbus_message letter = ACKBUS_MESSAGE_INIT;
    letter.topic = ackbus_str_of(DEAD_LETTERS);
    letter.payload = report->payload;
    letter.payload_len = report->payload_len;
    letter.headers = headers;
    letter.header_count = sizeof headers / sizeof headers[0];
    return ackbus_publisher_publish_msg(bus, &letter, NULL, NULL);
}

static void on_failures(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    struct handler *handler = user_data;
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = ackbus_report_at(reports, stride, i);
        if (handler->failed++ < 3) /* log some, count all */
            fprintf(stderr, "%s failed after %" PRIu32 " attempts: %s: %s\n", report->topic.data, report->attempts, ackbus_status_name(report->status),
                    report->text.data);
        ackbus_publisher *bus = handler->bus;
        /* A dead letter that fails is not dead-lettered again. */
        if (bus != NULL && strcmp(report->topic.data, DEAD_LETTERS) != 0 && dead_letter(bus, report) == ACKBUS_OK)
            handler->dead_lettered++;
        else
            handler->lost++;
    }
}

static void free_handler(void *user_data)
{
    struct handler *handler = user_data;
    printf("failed %" PRIu64 ", dead-lettered %" PRIu64 ", lost %" PRIu64 "\n", handler->failed, handler->dead_lettered, handler->lost);
    free(handler);
}

static ackbus_status rule(ackbus_config *config, const char *pattern, const char *stream, ackbus_error **error)
{
    ackbus_status status = ackbus_config_set_topic(config, pattern, "stream", stream, error);
    return status != ACKBUS_OK ? status : ackbus_config_set_topic(config, pattern, "create", "if_missing", error);
}

static ackbus_status publish_orders(ackbus_publisher *bus, ackbus_error **error)
{
    static const char *const topics[] = {"orders.created", "unknown.topic"};
    for (int i = 0; i < ORDERS; i++) {
        char payload[32];
        int len = snprintf(payload, sizeof payload, "{\"order\":%d}", i);
        const char *topic = topics[i % 2];
        ackbus_status status = ackbus_publisher_publish(bus, topic, strlen(topic), payload, (size_t)len, (uint64_t)i, NULL, error);
        if (status != ACKBUS_OK)
            return status;
    }
    /* The first flush waits for the orders, and so for the dead letters that their callbacks publish; the second waits for those. */
    ackbus_status status = ackbus_publisher_flush(bus, -1, error);
    return status != ACKBUS_OK ? status : ackbus_publisher_flush(bus, -1, error);
}

int main(int argc, char **argv)
{
    struct handler *handler = calloc(1, sizeof *handler);
    ackbus_config *config = ackbus_config_new();
    ackbus_publisher *bus = NULL;
    ackbus_error *error = NULL;
    /* From here on the library owns the handler, and frees it when config and publisher are gone. */
    ackbus_status status = ackbus_config_on_reports(config, on_failures, handler, free_handler, &error);
    if (status == ACKBUS_OK)
        status = ackbus_config_set(config, "servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222", &error);
    if (status == ACKBUS_OK)
        status = rule(config, "orders.>", "ORDERS", &error);
    if (status == ACKBUS_OK)
        status = rule(config, "dead.>", "DEAD_LETTERS", &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_connect(config, &bus, &error);
    if (status == ACKBUS_OK) {
        handler->bus = bus;
        status = publish_orders(bus, &error);
    }
    if (status != ACKBUS_OK)
        fprintf(stderr, "error_callback: %s: %s\n", ackbus_status_name(status), ackbus_error_message(error).data);
    ackbus_error_free(error);
    ackbus_publisher_free(bus);
    ackbus_config_free(config);
    return status == ACKBUS_OK ? 0 : 1;
}
