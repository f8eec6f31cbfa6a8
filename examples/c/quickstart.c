/* quickstart [URL]: publishes a message and says what became of it. */
#include <ackbus.h>
#include <stdio.h>

static void on_failures(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data;
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "%s: %s\n", ackbus_report_at(reports, stride, i)->topic.data, ackbus_report_at(reports, stride, i)->text.data);
}

int main(int argc, char **argv)
{
    ackbus_publisher *bus = NULL;
    ackbus_error *error = NULL;
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_config *config = ackbus_config_new();
    if (ackbus_config_set(config, "servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222", &error) ||
        ackbus_config_set_topic(config, "orders.>", "stream", "ORDERS", &error) ||
        ackbus_config_set_topic(config, "orders.>", "create", "if_missing", &error) ||
        ackbus_config_on_reports(config, on_failures, NULL, NULL, &error) ||
        ackbus_publisher_connect(config, &bus, &error) ||
        ackbus_publisher_publish(bus, "orders.created", 14, "{\"id\":1}", 8, 0, NULL, &error) || /* returns at once */
        ackbus_publisher_close(bus, -1, &error) || ackbus_publisher_stats(bus, &stats))         /* waits for the outcome */
        fprintf(stderr, "quickstart: %s\n", ackbus_error_message(error).data);
    else
        printf("%llu of %llu persisted\n", (unsigned long long)stats.published, (unsigned long long)stats.accepted);
    ackbus_error_free(error);
    ackbus_publisher_free(bus);
    ackbus_config_free(config);
    return stats.accepted == 1 && stats.published == 1 ? 0 : 1;
}
