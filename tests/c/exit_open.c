/* A program may end without closing (T10): by exit or from main, with messages pending and a callback running. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <time.h>

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data, (void)reports, (void)count, (void)stride;
    const struct timespec a_while = {0, 50 * 1000000L};
    nanosleep(&a_while, NULL);
}

int main(int argc, char **argv)
{
    (void)argv;
    ackbus_config *config = memory_config(OPTIONS("report", "all"));
    IS(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, NULL, NULL, NULL));
    static ackbus_publisher *bus; /* reachable: a leak checker must not find it */
    bus = connect_and_free(config);
    for (int i = 0; i < 1000; i++)
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    if (argc > 1)
        exit(0);
    return 0;
}
