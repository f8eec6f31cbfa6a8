/* A host with the default SIGPIPE outlives servers that are killed in the middle of a write (T26).
 *
 *   sigpipe URL KILLS
 *
 * Publishes without end, prints "connected" and waits for the driver to kill the server, and does so KILLS times. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <signal.h>
#include <time.h>

static ackbus_publisher *bus;
static char payload[64 * 1024];

static int32_t state(void)
{
    ackbus_info info = ACKBUS_INFO_INIT;
    IS(ACKBUS_OK, ackbus_publisher_info(bus, &info));
    return info.state;
}

/* Keeps the connection busy until it is in this state. */
static void publish_until(int32_t wanted)
{
    while (state() != wanted) {
        ackbus_status status = ackbus_publisher_publish(bus, "pipes.big", 9, payload, sizeof payload, 0, NULL, NULL);
        CHECK(status == ACKBUS_OK || status == ACKBUS_ERR_QUEUE_FULL);
        if (status == ACKBUS_ERR_QUEUE_FULL) {
            const struct timespec a_moment = {0, 1000000};
            nanosleep(&a_moment, NULL);
        }
    }
}

static void ignore(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data, (void)reports, (void)count, (void)stride;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    signal(SIGPIPE, SIG_DFL);
    ackbus_config *config = ackbus_config_new();
    const char *const options[][2] = {{"servers", argv[1]}, {"on_full", "fail"}, {"max_pending", "512"}, {"max_reconnects", "-1"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        ERR(ACKBUS_OK, ackbus_config_set(config, options[i][0], options[i][1], &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "pipes.>", "mode", "ephemeral", &error));
    ERR(ACKBUS_OK, ackbus_config_on_reports(config, ignore, NULL, NULL, &error));
    bus = connect_and_free(config);
    for (int kills = atoi(argv[2]); kills > 0; kills--) {
        publish_until(ACKBUS_STATE_CONNECTED);
        printf("connected\n");
        fflush(stdout);
        publish_until(ACKBUS_STATE_RECONNECTING);
    }
    IS(ACKBUS_OK, ackbus_publisher_close(bus, 0, NULL));
    sigset_t pending;
    CHECK(sigpending(&pending) == 0 && !sigismember(&pending, SIGPIPE));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    printf("alive\n");
    return 0;
}
