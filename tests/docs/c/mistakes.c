/* mistakes URL: what a newcomer reads after the usual mistakes. docs/quickstart/c.md shows this program and what it prints. */
#include <ackbus.h>

#include <stdio.h>

static void say(ackbus_status status, ackbus_error **error)
{
    printf("%s: %s\n", ackbus_status_name(status), ackbus_error_message(*error).data);
    ackbus_error_free(*error);
}

static void on_failures(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    for (size_t i = 0; i < count; i++)
        printf("%s: %s\n", ackbus_status_name(ackbus_report_at(reports, stride, i)->status), ackbus_report_at(reports, stride, i)->text.data);
    ackbus_publisher *bus = *(ackbus_publisher **)user_data;
    ackbus_error *error = NULL;
    say(ackbus_publisher_flush(bus, -1, &error), &error);
}

static void mistakes(const char *url)
{
    ackbus_error *error = NULL;
    ackbus_publisher *bus = NULL;
    ackbus_config *config = ackbus_config_new();

    /* A value that an option does not have, and a key that does not exist. */
    say(ackbus_config_set(config, "on_full", "wait", &error), &error);
    say(ackbus_config_set(config, "max_pendign", "100", &error), &error);

    /* Nobody listens there. */
    ackbus_config_set(config, "servers", "nats://127.0.0.1:1", NULL);
    say(ackbus_publisher_connect(config, &bus, &error), &error);

    /* A pattern where a topic is wanted. */
    ackbus_config_set(config, "servers", url, NULL);
    ackbus_config_on_reports(config, on_failures, &bus, NULL, NULL);
    ackbus_publisher_connect(config, &bus, NULL);
    say(ackbus_publisher_publish(bus, "orders.*", 8, "{}", 2, 0, NULL, &error), &error);

    /* Polling, although a callback gets the reports. */
    ackbus_reports *reports = NULL;
    say(ackbus_publisher_poll(bus, 1, 0, &reports, &error), &error);

    /* No stream takes the topic: publish succeeds, and the report tells. Its callback then waits for itself. */
    ackbus_publisher_publish(bus, "invoices.new", 12, "{}", 2, 0, NULL, NULL);

    ackbus_publisher_free(bus);
    ackbus_config_free(config);
}

int main(int argc, char **argv)
{
    mistakes(argc > 1 ? argv[1] : "nats://127.0.0.1:4222");
    return 0;
}
