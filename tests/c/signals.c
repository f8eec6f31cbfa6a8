/* P7: the host's signals stay the host's. Its handlers run on its threads, its dispositions are as before, and a child spawned from a callback can be killed
 * by SIGPIPE like any other. */
#define _GNU_SOURCE /* gettid, popen */

#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int handled, handled_elsewhere;
static pid_t host;

static void on_signal(int signal)
{
    (void)signal;
    handled++;
    if (gettid() != host)
        handled_elsewhere++;
}

/* The signals that a child of this thread starts with blocked. */
static uint64_t blocked_in_child(void)
{
    FILE *child = popen("grep SigBlk /proc/self/status", "r");
    uint64_t mask = UINT64_MAX;
    CHECK(child != NULL && fscanf(child, "SigBlk: %" SCNx64, &mask) == 1);
    CHECK(pclose(child) == 0);
    return mask;
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)reports, (void)count, (void)stride;
    CHECK((blocked_in_child() & (UINT64_C(1) << (SIGPIPE - 1))) == 0);
    /* `yes` ends only because SIGPIPE ends it. */
    FILE *child = popen("yes | head -n 1", "r");
    char line[8];
    CHECK(child != NULL && fgets(line, sizeof line, child) != NULL);
    CHECK(pclose(child) == 0);
    *(atomic_bool *)user_data = true;
}

int main(void)
{
    host = gettid();
    const int watched[] = {SIGPIPE, SIGINT, SIGTERM, SIGUSR2, SIGCHLD, SIGALRM, SIGSEGV, SIGBUS};
    struct sigaction before[sizeof watched / sizeof watched[0]];
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
        sigaction(watched[i], NULL, &before[i]);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);

    atomic_bool spawned = false;
    ackbus_config *config = memory_config(NULL);
    IS(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, &spawned, NULL, NULL));
    ackbus_publisher *bus = connect_and_free(config);

    for (int i = 0; i < 2000; i++) {
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
        kill(getpid(), SIGUSR1); /* to the process: the kernel chooses any thread that does not block it */
    }
    ackbus_message message = message_of("orders.created", "{}");
    message.flags = ACKBUS_MSG_REPORT_ALWAYS;
    IS(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, NULL, NULL));
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));

    CHECK(spawned);
    CHECK(handled > 0 && handled_elsewhere == 0);
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++) {
        struct sigaction after;
        sigaction(watched[i], NULL, &after);
        CHECK(after.sa_handler == before[i].sa_handler);
    }
    return 0;
}
