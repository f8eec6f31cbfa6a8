/* Callbacks and finalizers: what a callback may call, and that every finalizer runs exactly once. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <stdatomic.h>
#include <time.h>

struct seen {
    ackbus_publisher *bus;
    _Atomic uint64_t reports, events, published;
    atomic_int finalized;
    atomic_bool block, waiting_is_refused, finalizer_is_refused;
};

static void sleep_ms(long ms)
{
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Everything that waits is refused (P5), and the handle stays valid. */
static bool waiting_is_refused(ackbus_publisher *bus)
{
    ackbus_message message = message_of("orders.created", "{}");
    ackbus_reports *reports = NULL;
    ackbus_events *events = NULL;
    ackbus_config *config = memory_config(NULL);
    ackbus_publisher *another = NULL;
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_publish_wait(bus, &message, 0, &reports, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_poll(bus, 1, 0, &reports, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_poll_events(bus, 1, 0, &events, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_flush(bus, 0, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_purge(bus, ACKBUS_PURGE_UNSENT, NULL, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_wait_connected(bus, 0, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_close(bus, 0, &error));
    ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_connect(config, &another, &error));
    IS(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_free(bus));
    CHECK(reports == NULL && events == NULL && another == NULL);
    ackbus_config_free(config);
    return true;
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    struct seen *seen = user_data;
    for (size_t i = 0; i < count; i++) {
        const ackbus_report *report = ackbus_report_at(reports, stride, i);
        CHECK(report->topic.data[report->topic.len] == '\0' && report->text.data[report->text.len] == '\0');
        /* Answers each order once; the window is full of other threads' messages or of this batch, and it works all the same (P3). */
        if (strcmp(report->topic.data, "orders.created") == 0) {
            ERR(ACKBUS_OK, ackbus_publisher_publish(seen->bus, "answers", 7, report->payload, report->payload_len, report->id, NULL, &error));
            seen->published++;
        }
    }
    if (seen->bus != NULL && !seen->waiting_is_refused)
        seen->waiting_is_refused = waiting_is_refused(seen->bus);
    seen->reports += count;
    while (seen->block)
        sleep_ms(1);
}

static void on_event(void *user_data, const ackbus_event *event)
{
    struct seen *seen = user_data;
    CHECK(event->struct_size >= sizeof *event && event->text.data[event->text.len] == '\0');
    seen->events++;
}

static void finalize(void *user_data)
{
    struct seen *seen = user_data;
    seen->finalized++;
    if (seen->bus != NULL) {
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_close(seen->bus, 0, &error));
        seen->finalizer_is_refused = true;
    }
}

static ackbus_config *config_with(struct seen *seen, const char *const *options)
{
    ackbus_config *config = memory_config(options);
    ERR(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, seen, finalize, &error));
    ERR(ACKBUS_OK, ackbus_config_on_event(config, on_event, seen, NULL, &error));
    return config;
}

static void reports_come_and_callbacks_publish(void)
{
    struct seen seen = {.bus = NULL};
    seen.bus = connect_and_free(config_with(&seen, OPTIONS("report", "all", "max_pending", "1")));
    for (int i = 0; i < 2000; i++)
        IS(ACKBUS_OK, publish_text(seen.bus, "orders.created", "{}"));
    ERR(ACKBUS_OK, ackbus_publisher_flush(seen.bus, -1, &error));
    CHECK(seen.published == 2000 && seen.waiting_is_refused);
    CHECK(seen.finalized == 0);
    ackbus_reports *reports = NULL;
    ackbus_events *events = NULL;
    ERR(ACKBUS_ERR_INVALID_STATE, ackbus_publisher_poll(seen.bus, 1, 0, &reports, &error));
    ERR(ACKBUS_ERR_INVALID_STATE, ackbus_publisher_poll_events(seen.bus, 1, 0, &events, &error));
    CHECK(ackbus_publisher_wake_fd(seen.bus) == -1);

    /* P6: when close returns, no callback runs any more, all is told, and the finalizer has run. */
    ERR(ACKBUS_OK, ackbus_publisher_close(seen.bus, -1, &error));
    CHECK(seen.reports == 4000 && seen.events > 0);
    CHECK(seen.finalized == 1 && seen.finalizer_is_refused);
    IS(ACKBUS_OK, ackbus_publisher_free(seen.bus));
    CHECK(seen.finalized == 1);
}

static void finalizers_run_once(void)
{
    struct seen seen = {.bus = NULL};

    ackbus_config_free(config_with(&seen, NULL)); /* never used */
    CHECK(seen.finalized == 1);

    ackbus_config *config = config_with(&seen, NULL); /* replaced */
    ERR(ACKBUS_OK, ackbus_config_on_reports(config, on_reports, &seen, finalize, &error));
    CHECK(seen.finalized == 2);

    ackbus_config *clone = ackbus_config_clone(config); /* shared */
    ackbus_config_free(config);
    CHECK(seen.finalized == 2);
    ackbus_config_free(clone);
    CHECK(seen.finalized == 3);

    config = config_with(&seen, NULL); /* a connect that fails */
    ERR(ACKBUS_OK, ackbus_config_set(config, "servers", "nats://127.0.0.1:1", &error));
    ackbus_publisher *bus = NULL, *other = NULL;
    ERR(ACKBUS_ERR_CONNECT_FAILED, ackbus_publisher_connect(config, &bus, &error));
    CHECK(bus == NULL && seen.finalized == 3);
    ackbus_config_free(config);
    CHECK(seen.finalized == 4);

    config = config_with(&seen, NULL); /* two publishers: the last one to close */
    ERR(ACKBUS_OK, ackbus_publisher_connect(config, &bus, &error));
    ERR(ACKBUS_OK, ackbus_publisher_connect(config, &other, &error));
    ackbus_config_free(config);
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    CHECK(seen.finalized == 4);
    IS(ACKBUS_OK, ackbus_publisher_free(other)); /* closes */
    CHECK(seen.finalized == 5);

    config = ackbus_config_new(); /* refused: not taken over */
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_reports(config, NULL, &seen, finalize, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_event(NULL, on_event, &seen, finalize, &error));
    ackbus_config_free(config);
    CHECK(seen.finalized == 5);
}

static void a_callback_that_does_not_return(void)
{
    struct seen seen = {.bus = NULL, .block = true};
    ackbus_publisher *bus = connect_and_free(config_with(&seen, OPTIONS("report", "all", "close_timeout_ms", "100")));
    IS(ACKBUS_OK, publish_text(bus, "orders.created.x", "{}"));
    while (seen.reports == 0)
        sleep_ms(1);
    ERR(ACKBUS_ERR_TIMED_OUT, ackbus_publisher_flush(bus, 10, &error));
    ERR(ACKBUS_ERR_CALLBACK_BUSY, ackbus_publisher_close(bus, 0, &error));
    IS(ACKBUS_ERR_CALLBACK_BUSY, ackbus_publisher_free(bus)); /* the handle is still valid */
    CHECK(seen.finalized == 0);
    seen.block = false;
    ERR(ACKBUS_OK, ackbus_publisher_close(bus, -1, &error));
    CHECK(seen.finalized == 1);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

struct log {
    ackbus_publisher *_Atomic bus;
    atomic_int lines, finalized;
};

static void on_log(void *user_data, int32_t level, ackbus_str target, ackbus_str text)
{
    struct log *log = user_data;
    CHECK(level >= ACKBUS_LOG_ERROR && level <= ACKBUS_LOG_TRACE && strlen(target.data) == target.len && strlen(text.data) == text.len);
    if (log->bus != NULL)
        ERR(ACKBUS_ERR_WRONG_THREAD, ackbus_publisher_flush(log->bus, 0, &error));
    log->lines++;
}

static void log_is_done(void *user_data)
{
    ((struct log *)user_data)->finalized++;
}

static void wait_until(atomic_int *value, int wanted)
{
    for (int ms = 0; *value < wanted && ms < 10000; ms++)
        sleep_ms(1);
    CHECK(*value >= wanted);
}

static void logging(void)
{
    struct log log = {.bus = NULL};
    ERR(ACKBUS_OK, ackbus_log_set(ACKBUS_LOG_TRACE, on_log, &log, log_is_done, &error));
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("log_level", "trace")));
    log.bus = bus;
    wait_until(&log.lines, 1);
    log.bus = NULL;
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    CHECK(log.finalized == 0);
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_log_set(ACKBUS_LOG_TRACE + 1, on_log, &log, log_is_done, &error));
    ERR(ACKBUS_OK, ackbus_log_set(ACKBUS_LOG_OFF, NULL, NULL, NULL, &error));
    wait_until(&log.finalized, 1);
    sleep_ms(20);
    CHECK(log.finalized == 1);
}

int main(void)
{
    reports_come_and_callbacks_publish();
    finalizers_run_once();
    a_callback_that_does_not_return();
    logging();
    return 0;
}
