/* The figures as OpenMetrics text: what it says, how long it may be, several publishers in one. What the text must look like is tested in the core. */
#include "check.h"

static char text[2 * ACKBUS_METRICS_MAX];

/* The value of this sample, which must be there once. */
static double value_of(const char *series)
{
    const char *found = strstr(text, series);
    if (found == NULL || found[-1] != '\n' || strstr(found + 1, series) != NULL) {
        fprintf(stderr, "%s is not there once in %s\n", series, text);
        abort();
    }
    return strtod(found + strlen(series), NULL);
}

static void read_metrics(const ackbus_publisher *bus)
{
    size_t len = 0;
    ERR(ACKBUS_OK, ackbus_publisher_metrics(bus, text, ACKBUS_METRICS_MAX, &len, &error));
    CHECK(len == strlen(text) && len > 6 && strcmp(text + len - 6, "# EOF\n") == 0);
}

static void one_publisher(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("name", "orders \"eu\"", "max_pending", "77")));
    for (int i = 0; i < 3; i++)
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    IS(ACKBUS_OK, ackbus_publisher_flush(bus, -1, NULL));
    read_metrics(bus);
    CHECK(value_of("ackbus_accepted_messages_total{publisher=\"orders \\\"eu\\\"\"} ") == 3);
    CHECK(value_of("ackbus_ack_latency_seconds_bucket{publisher=\"orders \\\"eu\\\"\",le=\"+Inf\"} ") == 3);
    CHECK(value_of("ackbus_pending_limit_messages{publisher=\"orders \\\"eu\\\"\"} ") == 77);
    CHECK(value_of("ackbus_connected{publisher=\"orders \\\"eu\\\"\"} ") == 1);

    /* They stay readable after close. */
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    read_metrics(bus);
    CHECK(value_of("ackbus_published_messages_total{publisher=\"orders \\\"eu\\\"\"} ") == 3);
    CHECK(value_of("ackbus_connected{publisher=\"orders \\\"eu\\\"\"} ") == 0);

    /* Nothing changes any more, so the length that is told is the length that is needed. */
    size_t len = 0, told = 0;
    ERR(ACKBUS_OK, ackbus_publisher_metrics(bus, NULL, 0, &len, &error));
    CHECK(len == strlen(text));
    char *exact = malloc(len + 1);
    CHECK(exact != NULL);
    ERR(ACKBUS_OK, ackbus_publisher_metrics(bus, exact, len + 1, NULL, &error));
    CHECK(strcmp(exact, text) == 0);
    exact[0] = 'x';
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_metrics(bus, exact, len, &told, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_metrics(bus, NULL, len + 1, NULL, &error));
    CHECK(told == len && exact[0] == 'x');
    free(exact);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void several_publishers(void)
{
    ackbus_publisher *buses[3] = {connect_and_free(memory_config(NULL)), connect_and_free(memory_config(NULL))};
    buses[2] = buses[0]; /* told once */
    IS(ACKBUS_OK, publish_text(buses[1], "orders.created", "{}"));
    IS(ACKBUS_OK, ackbus_publisher_flush(buses[1], -1, NULL));
    size_t len = 0;
    ERR(ACKBUS_OK, ackbus_metrics((const ackbus_publisher *const *)buses, 3, text, sizeof text, &len, &error));
    CHECK(len == strlen(text));
    CHECK(value_of("ackbus_accepted_messages_total{publisher=\"ackbus\"} ") == 0);
    CHECK(value_of("ackbus_accepted_messages_total{publisher=\"ackbus#2\"} ") == 1);
    CHECK(value_of("# TYPE ackbus_accepted_messages counter") == 0);
    ERR(ACKBUS_OK, ackbus_metrics(NULL, 0, text, sizeof text, &len, &error));
    CHECK(len == 6 && strcmp(text, "# EOF\n") == 0);
    IS(ACKBUS_OK, ackbus_publisher_free(buses[0]));
    IS(ACKBUS_OK, ackbus_publisher_free(buses[1]));
}

int main(void)
{
    one_publisher();
    several_publishers();
    CHECK(strncmp(ACKBUS_METRICS_CONTENT_TYPE, "application/openmetrics-text;", 29) == 0);
    return 0;
}
