/* Logs in with these options and prints everything it is told: the log at its highest level, events, errors, settings, information, metrics. The driver looks
 * for secrets in it. Prints "connected" after its first message, and goes on when it is given a line: by then the connection was lost.
 *
 *   secrets KEY VALUE [KEY VALUE]... */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <stdatomic.h>
#include <time.h>

static void on_log(void *user_data, int32_t level, ackbus_str target, ackbus_str text)
{
    (void)user_data;
    printf("log %" PRId32 " %s %s\n", level, target.data, text.data);
}

static void on_last_line(void *user_data)
{
    atomic_store((atomic_bool *)user_data, true);
}

static void on_event(void *user_data, const ackbus_event *event)
{
    (void)user_data;
    printf("event %" PRId32 " %s %s %s %s\n", event->kind, ackbus_status_name(event->status), event->server.data, event->topic.data, event->text.data);
}

/* Takes the address: a call that fills it is another argument. */
static bool told(ackbus_status status, ackbus_error **error)
{
    if (status == ACKBUS_OK)
        return false;
    printf("error %s %s\n", ackbus_status_name(status), ackbus_error_message(*error).data);
    ackbus_error_free(*error);
    return true;
}

static void log_in(const ackbus_config *config)
{
    ackbus_publisher *bus = NULL;
    ackbus_error *error = NULL;
    if (told(ackbus_publisher_connect(config, &bus, &error), &error))
        return;
    ackbus_message message = message_of("orders.created", "{}");
    ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, -1, NULL, &error));
    puts("connected");
    fflush(stdout);
    CHECK(getchar() != EOF);
    ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, -1, NULL, &error));
    ackbus_info info = ACKBUS_INFO_INIT;
    IS(ACKBUS_OK, ackbus_publisher_info(bus, &info));
    printf("info %s %s %s\n", info.server, info.server_version, info.last_error_text);
    static char metrics[ACKBUS_METRICS_MAX];
    ERR(ACKBUS_OK, ackbus_publisher_metrics(bus, metrics, sizeof metrics, NULL, &error));
    fputs(metrics, stdout);
    ERR(ACKBUS_OK, ackbus_publisher_close(bus, -1, &error));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

int main(int argc, char **argv)
{
    atomic_bool logged = false;
    ERR(ACKBUS_OK, ackbus_log_set(ACKBUS_LOG_TRACE, on_log, &logged, on_last_line, &error));
    ackbus_config *config = ackbus_config_new();
    ackbus_error *error = NULL;
    bool fits = true;
    for (int i = 1; i + 1 < argc; i += 2)
        fits = fits && !told(ackbus_config_set(config, argv[i], argv[i + 1], &error), &error);
    ERR(ACKBUS_OK, ackbus_config_set(config, "log_level", "trace", &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "orders.>", "stream", "ORDERS", &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "orders.>", "create", "if_missing", &error));
    ERR(ACKBUS_OK, ackbus_config_on_event(config, on_event, NULL, NULL, &error));
    const char *key;
    for (size_t i = 0; (key = ackbus_config_key(i)) != NULL; i++) {
        char value[4096];
        ERR(ACKBUS_OK, ackbus_config_get(config, key, value, sizeof value, NULL, &error));
        printf("option %s=%s\n", key, value);
    }
    if (fits)
        log_in(config);
    ackbus_config_free(config);
    ERR(ACKBUS_OK, ackbus_log_set(ACKBUS_LOG_OFF, NULL, NULL, NULL, &error));
    while (!atomic_load(&logged)) {
        const struct timespec moment = {0, 1000000};
        nanosleep(&moment, NULL);
    }
    return 0;
}
