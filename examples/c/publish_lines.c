/* publish_lines: publishes standard input, one message per line.
 *
 *   publish_lines URL TOPIC [key=value ...] [topic:PATTERN:key=value ...] < file
 *
 *   publish_lines nats://127.0.0.1:4222 rows.de topic:rows.\>:stream=ROWS topic:rows.\>:create=if_missing < rows.csv
 *
 * Progress goes to stderr: a live line on a terminal, else a line every second. Standard output lists every line that is not known to be persisted, and then
 * the figures. Exits 0 if all lines are persisted, 1 if not, 2 if it was called wrongly. Ctrl-C stops reading, waits a while for what is pending, and reports;
 * a second Ctrl-C ends at once. */
#define _POSIX_C_SOURCE 200809L

#include <ackbus.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 100, TICKS_PER_SECOND = 1000 / TICK_MS, GRACE_MS = 5000 };

struct lines {
    ackbus_publisher *bus;
    double started;
    atomic_bool done;
    _Atomic uint64_t read, bytes; /* accepted, and the input as far as it was read */
    uint64_t refused;             /* not accepted */
    _Atomic uint64_t failed;      /* accepted, and not known to be persisted */
};

static volatile sig_atomic_t interrupted;
static int nothing = -1; /* /dev/null, opened before it is needed */

/* Ends the input as well: without it a signal just before read() would be noticed at the next line only. Both calls are async-signal-safe. */
static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
    dup2(nothing, STDIN_FILENO);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int complain(const char *what, ackbus_error *error)
{
    fprintf(stderr, "publish_lines: %s: %s: %s\n", what, ackbus_status_name(ackbus_error_status(error)), ackbus_error_message(error).data);
    ackbus_error_free(error);
    return 2;
}

/* Runs on the library's report thread. By default failures come only; with report=all the rest comes too. The tag is the line's number. */
static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    struct lines *lines = user_data;
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = ackbus_report_at(reports, stride, i);
        if (report->status == ACKBUS_OK)
            continue;
        lines->failed++;
        printf("line %" PRIu64 ": %s, %s: %s\n", report->tag, report->persistence == ACKBUS_NOT_PERSISTED ? "not persisted" : "possibly persisted",
               ackbus_status_name(report->status), report->text.data);
    }
}

static void show_progress(struct lines *lines, bool live, bool last)
{
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_info info = ACKBUS_INFO_INIT;
    if (ackbus_publisher_stats(lines->bus, &stats) != ACKBUS_OK || ackbus_publisher_info(lines->bus, &info) != ACKBUS_OK)
        return;
    fprintf(stderr, "%s%" PRIu64 " lines, %" PRIu64 " persisted, %" PRIu64 " failed, %" PRIu64 " pending, %.0f/s%s%s", live ? "\r" : "", lines->read,
            stats.published, (uint64_t)lines->failed, stats.pending, (double)stats.published / (seconds() - lines->started),
            info.state == ACKBUS_STATE_RECONNECTING ? ", not connected" : "", live ? "\033[K" : "\n");
    if (live && last)
        fputc('\n', stderr);
}

/* Shows the progress, and on Ctrl-C closes the bus: that wakes main, which may be waiting for room or for the end of the flush. */
static void *watch(void *argument)
{
    struct lines *lines = argument;
    bool live = isatty(STDERR_FILENO);
    bool closed = false;
    const struct timespec tick = {0, TICK_MS * 1000000L};
    for (int ticks = 1; !lines->done; ticks++) {
        nanosleep(&tick, NULL);
        if (live || ticks % TICKS_PER_SECOND == 0)
            show_progress(lines, live, false);
        if (interrupted && !closed)
            closed = ackbus_publisher_close(lines->bus, GRACE_MS, NULL) == ACKBUS_OK;
    }
    if (live)
        show_progress(lines, live, true);
    return NULL;
}

/* Takes key=value and topic:PATTERN:key=value, and cuts it to pieces. The value may have colons, and so may the pattern. */
static ackbus_status configure(ackbus_config *config, char *option, ackbus_error **error)
{
    char *equals = strchr(option, '=');
    if (equals == NULL)
        return ackbus_config_set(config, option, "", error); /* the library says what is wrong with it */
    *equals = '\0';
    char *colon = strrchr(option, ':');
    if (strncmp(option, "topic:", 6) != 0 || colon < option + 6)
        return ackbus_config_set(config, option, equals + 1, error);
    *colon = '\0';
    return ackbus_config_set_topic(config, option + 6, colon + 1, equals + 1, error);
}

/* Returns false if the input was not read to its end. */
static bool publish_input(struct lines *lines, const char *topic)
{
    char *line = NULL;
    size_t room = 0, topic_len = strlen(topic);
    ssize_t len = 0;
    bool going = true;
    while (going && !interrupted && (len = getline(&line, &room, stdin)) >= 0) {
        size_t payload_len = len > 0 && line[len - 1] == '\n' ? (size_t)len - 1 : (size_t)len;
        uint64_t number = ++lines->read;
        ackbus_error *error = NULL;
        ackbus_status status = ackbus_publisher_publish(lines->bus, topic, topic_len, line, payload_len, number, NULL, &error);
        lines->bytes += payload_len;
        if (status != ACKBUS_OK) {
            lines->refused++;
            printf("line %" PRIu64 ": not accepted, %s: %s\n", number, ackbus_status_name(status), ackbus_error_message(error).data);
            /* A line that is too large says nothing about the next; a bad topic, or a bus that is closed or has failed, does. */
            going = status == ACKBUS_ERR_TOO_LARGE || ackbus_error_is_retriable(error);
            ackbus_error_free(error);
        }
    }
    bool whole = going && !interrupted && !ferror(stdin);
    if (!whole)
        printf("stopped after line %" PRIu64 "; what follows was not published\n", lines->read);
    free(line);
    return whole;
}

static void print_figures(const struct lines *lines, const ackbus_stats *stats, double took)
{
    printf("%" PRIu64 " lines, %" PRIu64 " bytes in %.2f s, %.0f lines/s\n", lines->read, lines->bytes, took, (double)lines->read / took);
    printf("persisted %" PRIu64 ", failed %" PRIu64 ", not accepted %" PRIu64 ", ephemeral %" PRIu64 "\n", stats->published, (uint64_t)lines->failed,
           lines->refused, stats->ephemeral - stats->ephemeral_dropped);
    printf("retries %" PRIu64 ", duplicates %" PRIu64 ", reconnects %" PRIu64 ", ack latency p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", stats->retries,
           stats->duplicates, stats->reconnects, (double)stats->latency_p50_ns / 1e6, (double)stats->latency_p99_ns / 1e6, (double)stats->latency_max_ns / 1e6);
}

/* Reads until the end of the input or Ctrl-C, then waits for every outcome. Returns the exit code. */
static int run(struct lines *lines, const char *topic)
{
    /* Ctrl-C is for this thread: its handler must interrupt getline. SA_RESETHAND: the second one kills. */
    sigset_t interrupts, before;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    sigaddset(&interrupts, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &interrupts, &before);
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch, lines) != 0) {
        fprintf(stderr, "publish_lines: no thread for the progress\n");
        return 1;
    }
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    nothing = open("/dev/null", O_RDONLY);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    bool whole = publish_input(lines, topic);
    ackbus_publisher_flush(lines->bus, -1, NULL);
    ackbus_status closed = ackbus_publisher_close(lines->bus, -1, NULL);
    double took = seconds() - lines->started;
    lines->done = true;
    pthread_join(watcher, NULL);

    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_publisher_stats(lines->bus, &stats);
    print_figures(lines, &stats, took);
    bool all = closed == ACKBUS_OK && whole && lines->refused == 0 && lines->failed == 0 && stats.ephemeral_dropped == 0;
    return all && fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: publish_lines URL TOPIC [key=value ...] [topic:PATTERN:key=value ...] < file\n");
        return 2;
    }
    struct lines lines = {.bus = NULL};
    ackbus_error *error = NULL;
    ackbus_config *config = ackbus_config_new();
    const char *what = argv[1];
    ackbus_status status = ackbus_config_set(config, "servers", what, &error);
    for (int i = 3; status == ACKBUS_OK && i < argc; i++) {
        what = argv[i];
        status = configure(config, argv[i], &error);
    }
    if (status == ACKBUS_OK)
        status = ackbus_config_on_reports(config, on_reports, &lines, NULL, &error);
    if (status == ACKBUS_OK) {
        what = argv[1];
        status = ackbus_publisher_connect(config, &lines.bus, &error);
    }
    ackbus_config_free(config);
    if (status != ACKBUS_OK)
        return complain(what, error);

    lines.started = seconds();
    int code = run(&lines, argv[2]);
    ackbus_publisher_free(lines.bus);
    return code;
}
