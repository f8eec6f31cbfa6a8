/* P7: the host's signals stay the host's. Its handlers run on its threads, its dispositions are as before, and a child spawned from a callback can be killed
 * by SIGPIPE like any other. */
#define _GNU_SOURCE /* gettid */

#include "check.h"

#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static atomic_int handled, handled_elsewhere;
static pid_t host;

static void on_signal(int signal)
{
    (void)signal;
    handled++;
    if (gettid() != host)
        handled_elsewhere++;
}

/* Spawns this program again, as a child that sends SIGPIPE to itself. No shell between them: shells reset the mask. */
static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)reports, (void)count, (void)stride;
    char program[] = "/proc/self/exe", role[] = "child";
    char *const arguments[] = {program, role, NULL};
    pid_t child;
    int status;
    CHECK(posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    *(atomic_bool *)user_data = true;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        kill(getpid(), SIGPIPE);
        return 0; /* it was blocked */
    }
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

    /* Signals to the process, which the kernel hands to any thread that does not block them. While the host's only thread does, they wait. */
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    for (int i = 0; i < 2000; i++) {
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
        kill(getpid(), SIGUSR1);
    }
    CHECK(handled == 0);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    CHECK(handled > 0 && handled_elsewhere == 0);

    ackbus_message message = message_of("orders.created", "{}");
    message.flags = ACKBUS_MSG_REPORT_ALWAYS;
    IS(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, NULL, NULL));
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));

    CHECK(spawned);
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++) {
        struct sigaction after;
        sigaction(watched[i], NULL, &after);
        CHECK(after.sa_handler == before[i].sa_handler);
    }
    return 0;
}
