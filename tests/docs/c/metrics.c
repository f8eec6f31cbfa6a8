/* metrics URL: figures as OpenMetrics text. docs/OPERATE.md shows this program and what it prints. */
#include <ackbus.h>

#include <stdio.h>

static void print_metrics(const ackbus_publisher *bus)
{
    static char text[ACKBUS_METRICS_MAX]; /* always enough; a program with threads takes one for each */
    if (ackbus_publisher_metrics(bus, text, sizeof text, NULL, NULL) != ACKBUS_OK)
        return;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (strstr(line, "_messages_total{publisher=\"shop\"}") != NULL) /* a server of metrics sends all of it */
            puts(line);
}

int main(int argc, char **argv)
{
    ackbus_publisher *bus = NULL;
    ackbus_config *config = ackbus_config_new();
    ackbus_config_set(config, "servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222", NULL);
    ackbus_config_set(config, "name", "shop", NULL);
    ackbus_config_set_topic(config, "metered.>", "stream", "METERED", NULL);
    ackbus_config_set_topic(config, "metered.>", "create", "if_missing", NULL);
    if (ackbus_publisher_connect(config, &bus, NULL) == ACKBUS_OK) {
        ackbus_publisher_publish(bus, "metered.one", 11, "{}", 2, 0, NULL, NULL);
        ackbus_publisher_publish(bus, "metered.two", 11, "{}", 2, 0, NULL, NULL);
        ackbus_publisher_publish(bus, "nowhere", 7, "{}", 2, 0, NULL, NULL);
        ackbus_publisher_close(bus, -1, NULL);
        print_metrics(bus);
    }
    ackbus_publisher_free(bus);
    ackbus_config_free(config);
    return 0;
}
